import { describe, refuse } from '../runtime/errors.ts';
import { asTrack, parseObject, targetFrom, type Box } from './jsonAnswer.ts';
import { boxIou } from './spatialGrounding.ts';

/**
 * Mean box IoU over the frames of the ground truth, in `{"boxes": {"1": [x1, y1, x2, y2], …}}`.
 *
 * A frame the answer leaves out counts as 0, a frame too many costs nothing.
 *
 * @throws INVALID_DATA  the ground truth holds no boxes
 */
export function trackingReward(prediction: string, answer: string): number {
  const target = targetTrack(answer, 'tracking');
  return trackIou(asTrack(parseObject(prediction)?.['boxes']) ?? new Map(), target);
}

/** Mean IoU over `frames`: all of the target's, or only the common ones (0 if there are none). @throws INVALID_ARGUMENT  no maps */
export function trackIou(
  prediction: ReadonlyMap<string, Box>,
  target: ReadonlyMap<string, Box>,
  frames: 'target' | 'common' = 'target',
): number {
  for (const [name, track] of Object.entries({ prediction, target }))
    if (!((track as unknown) instanceof Map)) refuse('trackIou', name, 'must be a Map of boxes', describe(track));
  const common = [...target].filter(([frame]) => prediction.has(frame));
  const sum = common.reduce((total, [frame, box]) => total + boxIou(prediction.get(frame)!, box), 0);
  return sum / Math.max(1, frames === 'target' ? target.size : common.length);
}

/** The boxes of a ground truth. @throws INVALID_DATA  it holds none */
export function targetTrack(answer: string, problemType: string): Map<string, Box> {
  return targetFrom(answer, problemType, '{"boxes": {"1": [x1, y1, x2, y2]}}', (object) => {
    const track = asTrack(object['boxes']);
    return track?.size ? track : undefined;
  });
}
