import { wantList } from '../runtime/errors.ts';
import { asBox, parseObject, targetFrom, type Box } from './jsonAnswer.ts';

/**
 * Intersection over union of the boxes in `{"boxes": [x1, y1, x2, y2]}`; an answer that is not such JSON is 0.
 *
 * Both boxes are in the same frame, by convention 0 to 1000 along each side of the image.
 *
 * @throws INVALID_DATA  the ground truth holds no box
 */
export function spatialGroundingReward(prediction: string, answer: string): number {
  const target = targetFrom(answer, 'spatial grounding', '{"boxes": [x1, y1, x2, y2]}', (o) => asBox(o['boxes']));
  const box = asBox(parseObject(prediction)?.['boxes']);
  return box ? boxIou(box, target) : 0;
}

/** Intersection over union in [0, 1]; a box whose corners are swapped is empty, and two empty boxes give 0. @throws INVALID_ARGUMENT  no lists */
export function boxIou(a: Box, b: Box): number {
  wantList('boxIou', 'a', a);
  wantList('boxIou', 'b', b);
  const overlap = areaOf([Math.max(a[0], b[0]), Math.max(a[1], b[1]), Math.min(a[2], b[2]), Math.min(a[3], b[3])]);
  const union = areaOf(a) + areaOf(b) - overlap;
  return overlap > 0 && Number.isFinite(union) ? overlap / union : 0;
}

function areaOf([x1, y1, x2, y2]: Box): number {
  return Math.max(0, x2 - x1) * Math.max(0, y2 - y1);
}
