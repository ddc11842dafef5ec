import { expect, it } from 'vitest';
import { rotary, rotaryTable } from '../../lib/kernels/rotary.ts';
import { sameForAnyThreads } from '../support/sameForAnyThreads.ts';
import { expectClose, randoms, runKernel, shaped, testKernel } from '../support/testKernel.ts';

const frequencies = (F: number, theta: number) => Float64Array.from({ length: F }, (_, i) => theta ** (-i / F));
const table = (A: number, S: number, F: number) => ({
  positions: shaped(
    Int32Array.from({ length: A * S }, (_, i) => (i * 7919) % 90),
    A,
    S,
  ),
  axis: Int32Array.from({ length: F }, (_, i) => i % A),
  inverseFrequency: frequencies(F, 10000),
});
const turn = (S: number, N: number, F: number) => {
  const angles = randoms(S + F, S, F);
  return {
    cosine: shaped(angles.map(Math.cos), S, F),
    sine: shaped(angles.map(Math.sin), S, F),
    x: randoms(2, S, N, 2 * F),
  };
};

testKernel(rotaryTable, {
  cases: {
    'three axes, interleaved': {
      positions: [
        [0, 5],
        [1, 6],
        [2, 7],
      ],
      axis: [0, 1, 2, 0],
      inverseFrequency: [1, 0.5, 0.25, 0.125],
    },
    'one position, negative': { positions: [[-3]], axis: [0], inverseFrequency: [1] },
    none: { positions: shaped(new Int32Array(0), 2, 0), axis: [0, 1], inverseFrequency: [1, 1] },
    'no frequencies': { positions: [[1, 2]], axis: [], inverseFrequency: [] },
    'the vision tower, more than a block': table(2, 200, 18),
    'a text layer': table(3, 33, 64),
  },
  tolerance: { f32: 8e-6, f64: 1e-12 }, // angles below 90 are rounded to f32, a spacing of 7.6e-6; cosine and sine keep that
});

testKernel(rotary, {
  cases: {
    'a quarter turn': { cosine: [[0]], sine: [[1]], x: [[[1, 2]]] },
    back: { cosine: [[0]], sine: [[1]], x: [[[1, 2]]], inverse: true },
    none: {
      cosine: shaped(new Float64Array(0), 0, 2),
      sine: shaped(new Float64Array(0), 0, 2),
      x: shaped(new Float64Array(0), 0, 3, 4),
    },
    'heads of 32': turn(9, 3, 16),
    'heads of 72': turn(5, 2, 36),
    'heads of 24': turn(5, 3, 12),
    'heads of 18': turn(3, 2, 9),
    'heads of 10, more than a block': turn(500, 7, 5),
  },
  tolerance: { f32: 3e-7, f64: 1e-15 }, // two products and a sum
});

sameForAnyThreads(rotaryTable, table(3, 300, 64));
sameForAnyThreads(rotary, turn(300, 4, 16));

it('turning back is the transpose of turning, and undoes it', async () => {
  const given = turn(6, 3, 20);
  const y = randoms(8, 6, 3, 40);
  const turned = (await runKernel(rotary, given, 'f64'))['x']!;
  const back = (await runKernel(rotary, { ...given, x: y, inverse: true }, 'f64'))['x']!;
  const dot = (a: ArrayLike<number>, b: ArrayLike<number>) => Array.from(a).reduce((s, v, i) => s + v * b[i]!, 0);
  expect(Math.abs(dot(turned, y) - dot(given.x, back))).toBeLessThan(1e-12);
  const undone = await runKernel(rotary, { ...given, x: shaped(turned, 6, 3, 40), inverse: true }, 'f64');
  expectClose('x', undone['x']!, given.x, 1e-14);
});

it('an axis out of range is refused', async () => {
  for (const axis of [
    [0, 2],
    [-1, 0],
  ])
    await expect(
      runKernel(rotaryTable, { positions: [[1], [2]], axis, inverseFrequency: [1, 1] }, 'f32'),
    ).rejects.toThrow(/rotary_table: axis\[[01]\] must be in \[0, 2\); got (2|-1)/);
});
