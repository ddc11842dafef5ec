import { expect, it } from 'vitest';
import { embedding, embeddingBackward } from '../../lib/kernels/embedding.ts';
import { sameAsWidened } from '../support/sameAsWidened.ts';
import { sameForAnyThreads } from '../support/sameForAnyThreads.ts';
import { randoms, runKernel, shaped, testGradient, testKernel } from '../support/testKernel.ts';
import { wantCpu } from '../support/onCpu.ts';

const ids = (S: number, V: number) => Int32Array.from({ length: S }, (_, s) => ((s * 48271) % (V + 1)) - 1);
const forward = (S: number, V: number, H: number) => ({ ids: ids(S, V), table: randoms(V, V, H) });
const backward = (S: number, V: number, H: number) => ({
  ids: ids(S, V),
  dX: randoms(S, S, H),
  dTable: randoms(2, V, H),
});

testKernel(embedding, {
  cases: {
    'equal ids and rows left out': {
      ids: [1, -1, 1, 0, -1],
      table: [
        [1, 2, 3],
        [4, 5, 6],
      ],
    },
    one: { ids: [0], table: [[7]] },
    none: { ids: [], table: [[1, 2]] },
    'an odd width': forward(31, 9, 101),
    'more than a block': forward(300, 50, 96),
  },
  tolerance: 0, // copies
});
testKernel(embeddingBackward, {
  cases: {
    'equal ids and rows left out': {
      ids: [1, -1, 1, 1, -1],
      dX: [
        [1, 2],
        [3, 4],
        [5, 6],
        [7, 8],
        [9, 10],
      ],
      dTable: [
        [1, 1],
        [1, 1],
      ],
    },
    one: { ids: [0], dX: [[7]], dTable: [[1]] },
    none: { ids: [], dX: shaped(new Float64Array(0), 0, 2), dTable: [[1, 2]] },
    'an odd width': backward(31, 9, 101),
    'more than a block': backward(300, 50, 96),
    'a large table': backward(40, 30000, 3),
  },
  tolerance: { f32: 1e-6, f64: 1e-15 }, // sums of about 6 terms below 1
});
testGradient(embedding, embeddingBackward, {
  cases: { 'five ids of three': forward(5, 3, 2) },
  upstream: { x: 'dX' },
  gradients: { table: 'dTable' },
});
sameForAnyThreads(embedding, forward(600, 50, 96));
sameAsWidened(embedding, { odd: forward(40, 50, 37) });
sameForAnyThreads(embeddingBackward, backward(600, 50, 96));

it('adds equal ids in their order: the last bits say so', async ({ skip }) => {
  wantCpu(skip, 'a GPU adds pieces of that order first');
  const values = randoms(1, 200 * 100).map((v) => Math.fround(v * 1e3 ** v));
  const want = new Float32Array(100);
  for (let s = 0; s < 200; s++) for (let i = 0; i < 100; i++) want[i] = want[i]! + values[s * 100 + i]!;
  const given = {
    ids: new Int32Array(200),
    dX: shaped(values, 200, 100),
    dTable: shaped(new Float64Array(100), 1, 100),
  };
  expect((await runKernel(embeddingBackward, given, 'f32'))['dTable']).toEqual(want);
});

it('ids out of range are refused, and nothing is written', async () => {
  for (const bad of [2, -2, 2 ** 31 - 1, -(2 ** 31)]) {
    const at = `ids[1] must be in [-1, 2); got ${bad}`;
    await expect(runKernel(embedding, { ids: [0, bad], table: [[1], [2]] }, 'f32')).rejects.toThrow(`embedding: ${at}`);
    await expect(
      runKernel(embeddingBackward, { ids: [0, bad], dX: [[1], [2]], dTable: [[1], [2]] }, 'f32'),
    ).rejects.toThrow(`embedding_backward: ${at}`);
  }
});
