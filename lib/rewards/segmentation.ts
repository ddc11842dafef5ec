import { refuse, wantList } from '../runtime/errors.ts';
import { asBox, asNumber, asPoints, parseObject, targetFrom, type JsonObject, type Point } from './jsonAnswer.ts';
import { boxIou } from './spatialGrounding.ts';

const SIGMA = 50; // in units of the 0 to 1000 frame
const ORDERS = [
  [0, 1, 2],
  [0, 2, 1],
  [1, 0, 2],
  [1, 2, 0],
  [2, 0, 1],
  [2, 1, 0],
] as const;

/**
 * How well a box and three points inside and three outside would steer a segmenter.
 *
 *   image   0.50 · IoU + 0.25 · inside + 0.25 · outside
 *   video   0.30 · IoU + 0.30 · exp(−|Δt| / 2) + 0.20 · inside + 0.20 · outside        Δt in seconds
 *
 * It is a video when the ground truth names a `time`. A list of other than three points scores 0 for its part.
 *
 * @throws INVALID_DATA  the ground truth lacks a part
 */
export function segmentationReward(prediction: string, answer: string): number {
  const wanted = '{"boxes": [x1, y1, x2, y2], "positive_points": [[x, y], …], "negative_points": [[x, y], …]}';
  const target = targetFrom(answer, 'segmentation', wanted, (o) => {
    const parts = partsOf(o);
    return parts.box && parts.inside && parts.outside && (!('time' in o) || parts.time !== undefined)
      ? parts
      : undefined;
  });
  const given = partsOf(parseObject(prediction) ?? {});
  const iou = given.box ? boxIou(given.box, target.box!) : 0;
  const inside = given.inside ? pointSimilarity(given.inside, target.inside!) : 0;
  const outside = given.outside ? pointSimilarity(given.outside, target.outside!) : 0;
  if (target.time === undefined) return 0.5 * iou + 0.25 * inside + 0.25 * outside;
  const time = given.time === undefined ? 0 : Math.exp(-Math.abs(given.time - target.time) / 2);
  return 0.3 * iou + 0.3 * time + 0.2 * inside + 0.2 * outside;
}

/** exp(−d² / 2σ²) with d the mean distance of the best pairing of two triples of points. @throws INVALID_ARGUMENT  no such triples */
export function pointSimilarity(prediction: Point[], target: Point[], sigma = SIGMA): number {
  for (const [name, points] of Object.entries({ prediction, target })) {
    wantList('pointSimilarity', name, points);
    if (points.length !== 3) refuse('pointSimilarity', name, 'must be three points', `${points.length}`);
    points.forEach((point, i) => wantList('pointSimilarity', `${name}[${i}]`, point));
  }
  const distances = ORDERS.map(
    (order) =>
      order.reduce<number>((sum, to, from) => sum + distance(prediction[from]!, target[to]!), 0) / order.length,
  );
  return Math.exp(-(Math.min(...distances) ** 2) / (2 * sigma ** 2));
}

function partsOf(object: JsonObject) {
  return {
    box: asBox(object['boxes']),
    inside: asPoints(object['positive_points']),
    outside: asPoints(object['negative_points']),
    time: asNumber(object['time']),
  };
}

function distance(a: Point, b: Point): number {
  return Math.hypot(a[0] - b[0], a[1] - b[1]);
}
