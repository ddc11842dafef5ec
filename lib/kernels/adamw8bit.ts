import { adamw } from './adamw.ts';
import { parameterWord, roundAtRandom, roundingWord } from './rounding.ts';
import { defineKernel, f32, many, real, stored, u8 } from './defineKernel.ts';

/** Elements that share a scale. */
export const SCALED_ELEMENTS = 256;

/**
 * `adamw`, in place, with both moments kept in 8 bits: 2 bytes and 1/32 for a parameter instead of 8.
 *
 * Every 256 elements of a tensor share a scale, their largest moment / 1.875. What is left of a moment is in [0, 1.875] and becomes
 * a code c, which stands for
 *
 *   first    sign (upper bit) and 2^(⌊c/8⌋ − 15)·(1 + (c mod 8)/8),  c = 1 … 127
 *   second   2^(⌊c/8⌋ − 31)·(1 + (c mod 8)/8),                        c = 1 … 255
 *
 * and 0 for c = 0. A moment between two codes takes the upper one with the probability that keeps it unchanged in the mean: an
 * average that moves by a thousandth per step would never move if it were rounded to the nearest. The second moment alone is
 * never rounded down to 0, because the first is divided by its root. The parameter moves by the moments before rounding.
 *
 * The random numbers are a pure function of step, place of the tensor and of the element. Parameters of bf16 are rounded as by `adamw`.
 *
 * @throws SHAPE_MISMATCH    the lists are not of one length, or scales are missing
 * @throws INVALID_ARGUMENT  step is below 1, firstPlace or firstElement below 0, or a beta is not in [0, 1)
 * @source arXiv:2110.02861 for blocks with scales; codes and rounding are our own
 */
export const adamw8bit = defineKernel({
  name: 'adamw8bit',
  inputs: { gradients: many(real('N')) },
  updates: {
    parameters: many(stored('N')),
    firstCodes: many(u8('N')),
    secondCodes: many(u8('N')),
    /** B is ⌈N / 256⌉ */
    firstScales: many(f32('B')),
    secondScales: many(f32('B')),
  },
  scalars: adamw.declaration.scalars!,
  outputs: {},
  reference({ gradients, parameters, firstCodes, secondCodes, firstScales, secondScales, kept, ...s }) {
    gradients.forEach((gradient, k) => {
      const [first, second] = [firstCodes[k]!, secondCodes[k]!];
      const at = (scales: Float64Array, i: number) => scales[Math.floor(i / SCALED_ELEMENTS)]!;
      const m = Float64Array.from(first, (c, i) => (c > 127 ? -1 : 1) * FIRST[c % 128]! * at(firstScales[k]!, i));
      const v = Float64Array.from(second, (c, i) => SECOND[c]! * at(secondScales[k]!, i));
      const lists = { gradients: [gradient], parameters: [parameters[k]!], firstMoments: [m], secondMoments: [v] };
      adamw.declaration.reference({ ...lists, ...s }, {});
      if (kept === 'bf16')
        parameters[k]!.forEach(
          (x, i, all) => (all[i] = roundAtRandom(x, parameterWord(s.step, s.firstPlace + k, s.firstElement + i))),
        );
      for (let begin = 0; begin < gradient.length; begin += SCALED_ELEMENTS) {
        const block = begin / SCALED_ELEMENTS;
        const end = Math.min(begin + SCALED_ELEMENTS, gradient.length);
        const largest = (x: Float64Array) => x.subarray(begin, end).reduce((most, e) => Math.max(most, Math.abs(e)), 0);
        const [a, b] = [m, v].map((x) => (largest(x) > 1e-36 ? largest(x) / 1.875 : 0)) as [number, number];
        firstScales[k]![block] = a;
        secondScales[k]![block] = b;
        for (let i = begin; i < end; i++) {
          const random = roundingWord(s.step, s.firstPlace + k, s.firstElement + i);
          const code = a > 0 ? roundTo(FIRST, Math.abs(m[i]!) / a, (random & 0xffff) / 2 ** 16) : 0;
          first[i] = m[i]! < 0 && a > 0 ? code + 128 : code;
          const square = b > 0 ? roundTo(SECOND, v[i]! / b, (random >>> 16) / 2 ** 16) : 0;
          second[i] = square === 0 && v[i]! > 0 && b > 0 ? 1 : square;
        }
      }
    });
  },
  work: ({ N }) => ({ bytes: 16 * N!, flops: 40 * N! }),
});

/** What codes stand for. */
const codes = (count: number): number[] =>
  Array.from({ length: count }, (_, c) => (c === 0 ? 0 : 2 ** (Math.floor(c / 8) - count / 8 + 1) * (1 + (c % 8) / 8)));
const [FIRST, SECOND] = [codes(128), codes(256)];

/** The upper one of the two codes around y, if the place between them and `random` reach it together. */
function roundTo(values: readonly number[], y: number, random: number): number {
  let lower = 0;
  while (lower + 1 < values.length && values[lower + 1]! <= y) lower++;
  if (lower + 1 === values.length) return lower;
  const place = (y - values[lower]!) / (values[lower + 1]! - values[lower]!);
  return place + random >= 1 ? lower + 1 : lower;
}
