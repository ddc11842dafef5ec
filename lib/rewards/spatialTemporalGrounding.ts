import { asInterval, asTrack, parseObject, targetFrom } from './jsonAnswer.ts';
import { intervalIou } from './temporalGrounding.ts';
import { targetTrack, trackIou } from './tracking.ts';

/**
 * Half the overlap of the time spans, half the mean box IoU over the frames that both name,
 * in `{"time": [start, end], "boxes": {"1": [x1, y1, x2, y2], …}}`.
 *
 * @throws INVALID_DATA  the ground truth holds no span or no boxes
 */
export function spatialTemporalGroundingReward(prediction: string, answer: string): number {
  const type = 'spatial-temporal grounding';
  const target = targetTrack(answer, type);
  const targetSpan = targetFrom(answer, type, '{"time": [start, end], "boxes": {…}}', (o) => asInterval(o['time']));
  const object = parseObject(prediction);
  const span = asInterval(object?.['time']);
  const track = asTrack(object?.['boxes']) ?? new Map();
  return 0.5 * (span ? intervalIou(span, targetSpan) : 0) + 0.5 * trackIou(track, target, 'common');
}
