import { wantList } from '../runtime/errors.ts';
import { asInterval, parseObject, targetFrom, type Interval } from './jsonAnswer.ts';

/**
 * Overlap over hull of the spans in `{"time": [start, end]}`, seconds; an answer that is not such JSON is 0.
 *
 * @throws INVALID_DATA  the ground truth holds no span
 */
export function temporalGroundingReward(prediction: string, answer: string): number {
  const target = targetFrom(answer, 'temporal grounding', '{"time": [start, end]}', (o) => asInterval(o['time']));
  const span = asInterval(parseObject(prediction)?.['time']);
  return span ? intervalIou(span, target) : 0;
}

/** Length of the intersection over length of the smallest interval that covers both; two points give 0. @throws INVALID_ARGUMENT  no lists */
export function intervalIou(a: Interval, b: Interval): number {
  wantList('intervalIou', 'a', a);
  wantList('intervalIou', 'b', b);
  const overlap = Math.min(a[1], b[1]) - Math.max(a[0], b[0]);
  const hull = Math.max(a[1], b[1]) - Math.min(a[0], b[0]);
  return overlap > 0 && Number.isFinite(hull) ? overlap / hull : 0;
}
