import { fromBf16 } from '../runtime/bf16.ts';

/** 32 random bits for the rounding of an element: a pure function of step, place of the tensor and of the element. */
export function roundingWord(step: number, tensor: number, element: number): number {
  const key = (mixed(step) + mixed(tensor ^ 0x9e3779b9)) >>> 0;
  return mixed((Math.imul(element, 0x9e3779b9) + key) >>> 0);
}

/** The same of a bf16 parameter, whose moments may be rounded by the word above. */
export const parameterWord = (step: number, tensor: number, element: number): number =>
  mixed((roundingWord(step, tensor, element) ^ 0x5bd1e995) >>> 0);

function mixed(x: number): number {
  x = Math.imul(x ^ (x >>> 16), 0x7feb352d);
  x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
  return (x ^ (x >>> 16)) >>> 0;
}

/** x or, where bf16 does not have it, one of its neighbours there: the upper one if the place between them and 16 random bits reach it together. */
export function roundAtRandom(x: number, word: number): number {
  const bits = new Uint32Array(Float32Array.of(x).buffer)[0]!;
  if ((bits & 0x7f800000) === 0x7f800000) return Math.fround(x);
  return fromBf16(Uint16Array.of((bits + (word & 0xffff)) >>> 16))[0]!;
}
