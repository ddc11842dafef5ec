import { G2rpoError } from '../runtime/errors.ts';

export type Box = [x1: number, y1: number, x2: number, y2: number];
export type Interval = [start: number, end: number];
export type Point = [x: number, y: number];
export type JsonObject = Record<string, unknown>;

/**
 * The object an answer holds, or undefined if it is not strict JSON or not an object.
 *
 * Nothing is repaired: a policy that is paid for almost-JSON learns to write almost-JSON.
 */
export function parseObject(text: string): JsonObject | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined; // malformed answers score 0, they are no failure of the reward
  }
}

/** The same for a ground truth, where `read` must find everything. @throws INVALID_DATA  it does not */
export function targetFrom<T>(
  answer: string,
  problemType: string,
  wanted: string,
  read: (object: JsonObject) => T | undefined,
): T {
  const object = parseObject(answer);
  const target = object && read(object);
  if (target !== undefined) return target;
  throw new G2rpoError('INVALID_DATA', `${problemType}: the ground truth must be JSON like ${wanted}; got ${answer}`, {
    answer,
  });
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function asBox(value: unknown): Box | undefined {
  return isNumbers(value, 4) ? (value as Box) : undefined;
}

export function asInterval(value: unknown): Interval | undefined {
  return isNumbers(value, 2) ? (value as Interval) : undefined;
}

/** Exactly three points. */
export function asPoints(value: unknown): Point[] | undefined {
  return Array.isArray(value) && value.length === 3 && value.every((point) => isNumbers(point, 2))
    ? (value as Point[])
    : undefined;
}

export function asNumber(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined;
}

/** Boxes by frame; frames whose value is no box are left out. */
export function asTrack(value: unknown): Map<string, Box> | undefined {
  if (!isObject(value)) return undefined;
  const track = new Map<string, Box>();
  for (const [frame, box] of Object.entries(value)) if (asBox(box)) track.set(frame, box as Box);
  return track;
}

function isNumbers(value: unknown, length: number): boolean {
  return Array.isArray(value) && value.length === length && value.every((x) => asNumber(x) !== undefined);
}
