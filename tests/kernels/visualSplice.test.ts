import { expect, it } from 'vitest';
import {
  deepstackAdd,
  gatherRows,
  gatherRowsBackward,
  visualGather,
  visualSplice,
} from '../../lib/kernels/visualSplice.ts';
import { sameForAnyThreads } from '../support/sameForAnyThreads.ts';
import { randoms, runKernel, shaped, testGradient, testKernel, type Case } from '../support/testKernel.ts';

const none = (H: number) => shaped(new Float64Array(0), 0, H);
/** K different rows of S, and sources of P of which some occur more than once */
const pairs = (S: number, K: number, P: number) => ({
  rows: Int32Array.from({ length: K }, (_, k) => (k * 7 + 3) % S),
  source: Int32Array.from({ length: K }, (_, k) => (k * 5) % P),
});
const splice = (S: number, K: number, P: number, H: number) => ({
  features: randoms(P, P, H),
  ...pairs(S, K, P),
  x: randoms(S + 1, S, H),
});
const gather = (S: number, K: number, P: number, H: number) => ({
  dX: randoms(S, S, H),
  ...pairs(S, K, P),
  dFeatures: randoms(P + 1, P, H),
});
const spliceCases = {
  'one source for two rows': {
    features: [[1, 2, 3]],
    rows: [2, 0],
    source: [0, 0],
    x: [
      [9, 9, 9],
      [8, 8, 8],
      [7, 7, 7],
    ],
  },
  one: { features: [[1]], rows: [0], source: [0], x: [[5]] },
  none: { features: none(2), rows: [], source: [], x: [[1, 2]] },
  'an odd width': splice(20, 9, 6, 33),
  'more than a block': splice(500, 400, 390, 65),
};

testKernel(visualSplice, { cases: spliceCases, tolerance: 0 }); // copies
testKernel(deepstackAdd, { cases: spliceCases, tolerance: { f32: 1e-7, f64: 1e-15 } }); // one addition
testKernel(visualGather, {
  cases: {
    'one source for two rows': {
      dX: [
        [1, 2],
        [3, 4],
        [5, 6],
      ],
      rows: [2, 0],
      source: [0, 0],
      dFeatures: [[1, 1]],
    },
    none: { dX: [[1, 2]], rows: [], source: [], dFeatures: none(2) },
    'an odd width': gather(20, 9, 6, 33),
    'more than a block': gather(500, 400, 90, 65),
  },
  tolerance: { f32: 1e-6, f64: 1e-15 }, // sums of about 5 terms below 1
});
testKernel(gatherRows, {
  cases: {
    'a row three times': {
      x: [
        [1, 2],
        [3, 4],
      ],
      rows: [1, 1, 0, 1],
    },
    none: { x: [[1, 2]], rows: [] },
    'an odd width': { x: randoms(1, 9, 33), rows: pairs(9, 9, 9).rows },
    'more than a block': { x: randoms(1, 300, 65), rows: pairs(300, 700, 1).rows },
  },
  tolerance: 0, // copies
});
testKernel(gatherRowsBackward, {
  cases: {
    'a row three times': {
      dY: [
        [1, 2],
        [3, 4],
        [5, 6],
        [7, 8],
      ],
      rows: [1, 1, 0, 1],
      dX: [
        [1, 1],
        [1, 1],
      ],
    },
    none: { dY: none(2), rows: [], dX: [[1, 2]] },
    'an odd width': { dY: randoms(1, 9, 33), rows: pairs(5, 9, 9).rows, dX: randoms(2, 5, 33) },
    'more than a block': { dY: randoms(1, 700, 65), rows: pairs(300, 700, 1).rows, dX: randoms(2, 300, 65) },
  },
  tolerance: { f32: 1e-6, f64: 1e-15 }, // sums of about 3 terms below 1
});
testGradient(gatherRows, gatherRowsBackward, {
  cases: { 'five of three rows': { x: randoms(1, 3, 2), rows: [2, 0, 2, 2, 0] } },
  upstream: { y: 'dY' },
  gradients: { x: 'dX' },
});

sameForAnyThreads(visualSplice, splice(900, 700, 650, 65));
sameForAnyThreads(deepstackAdd, splice(900, 700, 650, 65));
sameForAnyThreads(visualGather, gather(900, 700, 90, 65));
sameForAnyThreads(gatherRows, { x: randoms(1, 300, 65), rows: pairs(300, 900, 1).rows });
sameForAnyThreads(gatherRowsBackward, {
  dY: randoms(1, 900, 65),
  rows: pairs(30, 900, 1).rows,
  dX: randoms(2, 30, 65),
});

it('the gather is the transpose of the splice and of the addition', async () => {
  const [S, K, P, H] = [20, 9, 6, 5];
  const given = splice(S, K, P, H);
  const dX = randoms(77, S, H);
  const gathered = (
    await runKernel(visualGather, { dX, ...pairs(S, K, P), dFeatures: shaped(new Float64Array(P * H), P, H) }, 'f64')
  )['dFeatures']!;
  const dot = (a: ArrayLike<number>, b: ArrayLike<number>) => Array.from(a).reduce((s, v, i) => s + v * b[i]!, 0);
  const zero = shaped(new Float64Array(S * H), S, H);
  for (const kernel of [visualSplice, deepstackAdd]) {
    const x = (await runKernel(kernel, { ...given, x: zero }, 'f64'))['x']!;
    expect(Math.abs(dot(x, dX) - dot(given.features, gathered))).toBeLessThan(1e-13);
  }
});

it('rows and sources out of range, and rows that occur twice, are refused', async () => {
  const table = [[1], [2], [3]];
  const refuses = (kernel: Parameters<typeof runKernel>[0], given: Case, message: string) =>
    expect(runKernel(kernel, given, 'f32')).rejects.toThrow(`${kernel.declaration.name}: ${message}`);
  for (const bad of [3, -1, 2 ** 31 - 1]) {
    const range = `[1] must be in [0, 3); got ${bad}`;
    for (const kernel of [visualSplice, deepstackAdd]) {
      await refuses(kernel, { features: table, rows: [0, bad], source: [0, 1], x: table }, `rows${range}`);
      await refuses(kernel, { features: table, rows: [0, 1], source: [0, bad], x: table }, `source${range}`);
    }
    await refuses(visualGather, { dX: table, rows: [0, bad], source: [0, 1], dFeatures: table }, `rows${range}`);
    await refuses(visualGather, { dX: table, rows: [0, 1], source: [0, bad], dFeatures: table }, `source${range}`);
    await refuses(gatherRows, { x: table, rows: [0, bad] }, `rows${range}`);
    await refuses(gatherRowsBackward, { dY: [[1], [2]], rows: [0, bad], dX: table }, `rows${range}`);
  }
  for (const kernel of [visualSplice, deepstackAdd])
    await refuses(
      kernel,
      { features: table, rows: [1, 2, 1], source: [0, 1, 2], x: table },
      'rows must be different; 1 occurs twice, at last as rows[2]',
    );
});
