import type { ProblemType } from '../types.ts';
import { asBox, asInterval, asNumber, asPoints, isObject, parseObject, type JsonObject } from './jsonAnswer.ts';

/**
 * The structure bonus of the paper's release, in [0, 0.5]: half a point for an answer built as its type demands.
 *
 * Types whose answer is plain text always get it. It counts only for responses whose format is right, which is for the
 * caller to see to.
 *
 * @source arXiv:2604.08539, the reward of its release; off by default
 */
export function structureReward(problemType: ProblemType, prediction: string, answer: string): number {
  const object = parseObject(prediction);
  switch (problemType) {
    case 'spatial grounding':
      return object && hasExactly(object, ['boxes']) && asBox(object['boxes']) ? 0.5 : 0;
    case 'temporal grounding':
      return object && hasExactly(object, ['time']) && asInterval(object['time']) ? 0.5 : 0;
    case 'segmentation':
      return object && isSegmentation(object, 'time' in (parseObject(answer) ?? {})) ? 0.5 : 0;
    case 'tracking':
    case 'spatial-temporal grounding':
      return object ? keyedStructure(object['boxes'], parseObject(answer)?.['boxes']) : 0;
    default:
      return 0.5;
  }
}

/** A quarter for being JSON, and up to a quarter for the share of the target's frames that are named. */
export function keyedStructure(prediction: unknown, target: unknown): number {
  const wanted = isObject(target) ? Object.keys(target) : [];
  const named = isObject(prediction) ? wanted.filter((frame) => Object.hasOwn(prediction, frame)).length : 0;
  return 0.25 + (0.25 * named) / Math.max(1, wanted.length);
}

function isSegmentation(object: JsonObject, isVideo: boolean): boolean {
  const keys = ['boxes', 'positive_points', 'negative_points', ...(isVideo ? ['time'] : [])];
  const points = asPoints(object['positive_points']) && asPoints(object['negative_points']);
  const time = !isVideo || asNumber(object['time']) !== undefined;
  return hasExactly(object, keys) && asBox(object['boxes']) !== undefined && points !== undefined && time;
}

function hasExactly(object: JsonObject, keys: string[]): boolean {
  return Object.keys(object).length === keys.length && keys.every((key) => Object.hasOwn(object, key));
}
