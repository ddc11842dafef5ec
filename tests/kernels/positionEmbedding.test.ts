import { expect, it } from 'vitest';
import { positionEmbedding, positionEmbeddingBackward } from '../../lib/kernels/positionEmbedding.ts';
import { sameForAnyThreads } from '../support/sameForAnyThreads.ts';
import { randoms, runKernel, shaped, testKernel, type Case } from '../support/testKernel.ts';

type Grid = [t: number, h: number, w: number];
const count = (grids: Grid[]) => grids.reduce((n, [t, h, w]) => n + t * h * w, 0);
const forward = (grids: Grid[], side: number, H: number, merge = 2) => {
  const P = count(grids);
  return {
    grids: shaped(Int32Array.from(grids.flat()), grids.length, 3),
    table: randoms(side, side * side, H),
    merge,
    x: randoms(P, P, H),
  };
};
const backward = (grids: Grid[], side: number, H: number, merge = 2) => {
  const { x: dX, table: dTable, ...rest } = forward(grids, side, H, merge);
  return { ...rest, dX, dTable };
};
const none = (H: number) => shaped(new Float64Array(0), 0, H);
const noGrids = shaped(new Int32Array(0), 0, 3);

testKernel(positionEmbedding, {
  cases: {
    'a table of one row': forward([[1, 2, 2]], 1, 3),
    'as large as the table': forward([[1, 4, 4]], 4, 3),
    'one row, one column, one patch': forward(
      [
        [1, 1, 5],
        [1, 3, 1],
        [1, 1, 1],
      ],
      4,
      7,
      1,
    ),
    none: { grids: noGrids, table: [[1, 2]], merge: 2, x: none(2) },
    'pictures and a video, more than a block': forward(
      [
        [1, 6, 4],
        [3, 10, 8],
        [1, 2, 60],
      ],
      5,
      67,
    ),
    'finer and coarser than the table': forward(
      [
        [1, 32, 48],
        [1, 4, 6],
      ],
      16,
      9,
    ),
    'blocks of three': forward([[2, 6, 9]], 4, 5, 3),
  },
  tolerance: { f32: 4e-6, f64: 1e-13 }, // places up to 15 are good to 1e-6, and so are shares of them
});
testKernel(positionEmbeddingBackward, {
  cases: {
    'a table of one row': backward([[1, 2, 2]], 1, 3),
    'as large as the table': backward([[1, 4, 4]], 4, 3),
    none: { grids: noGrids, dX: none(2), dTable: [[1, 2]], merge: 2 },
    'pictures and a video, more than a block': backward(
      [
        [1, 6, 4],
        [3, 10, 8],
        [1, 2, 60],
      ],
      5,
      67,
    ),
    'finer and coarser than the table': backward(
      [
        [1, 32, 48],
        [1, 4, 6],
      ],
      16,
      9,
    ),
  },
  tolerance: { f32: 1e-5, f64: 1e-13 }, // sums of some tens of terms below 1, their shares good to 1e-6
});
sameForAnyThreads(positionEmbedding, forward([[2, 20, 30]], 6, 33));
sameForAnyThreads(positionEmbeddingBackward, backward([[2, 20, 30]], 6, 33));

it('puts the corners of the table on the corners of the frame, in merge order', async () => {
  const table = Array.from({ length: 9 }, (_, i) => [i]);
  const { x } = await runKernel(
    positionEmbedding,
    { grids: [[1, 2, 4]], table, merge: 2, x: shaped(new Float64Array(8), 8, 1) },
    'f64',
  );
  // columns at 0, 2/3, 4/3, 2; rows at 0, 2: two blocks of 2 × 2
  const wanted = [0, 2 / 3, 6, 6 + 2 / 3, 4 / 3, 2, 6 + 4 / 3, 8];
  Array.from(x!).forEach((v, i) => expect(v).toBeCloseTo(wanted[i]!, 12));
});

it('the backward is the transpose of the forward', async () => {
  const given = forward(
    [
      [2, 4, 6],
      [1, 8, 2],
    ],
    5,
    3,
  );
  const dX = randoms(99, given.x.length / 3, 3);
  const zero = (a: ArrayLike<number>) => shaped(new Float64Array(a.length), a.length / 3, 3);
  const { x } = await runKernel(positionEmbedding, { ...given, x: zero(dX) }, 'f64');
  const { dTable } = await runKernel(
    positionEmbeddingBackward,
    { ...given, dX, dTable: zero(given.table), table: undefined, x: undefined },
    'f64',
  );
  const dot = (a: ArrayLike<number>, b: ArrayLike<number>) => Array.from(a).reduce((s, v, i) => s + v * b[i]!, 0);
  expect(Math.abs(dot(x!, dX) - dot(given.table, dTable!))).toBeLessThan(1e-12);
});

it('grids that do not fit are refused, and tables that are no square', async () => {
  const refuses = async (change: Case, code: string, message: string) => {
    const given = { grids: [[1, 2, 2]], merge: 2, ...change };
    const table = (change['table'] ?? [[1], [2], [3], [4]]) as number[][];
    for (const [kernel, args] of [
      [positionEmbedding, { ...given, table, x: [[1], [2], [3], [4]] }],
      [positionEmbeddingBackward, { ...given, table: undefined, dTable: table, dX: [[1], [2], [3], [4]] }],
    ] as const)
      await expect(runKernel(kernel, args, 'f32')).rejects.toMatchObject({
        code,
        message: expect.stringContaining(`${kernel.declaration.name}: ${message}`),
      });
  };
  const large = 2 ** 31 - 2;
  await refuses({ table: [[1], [2]] }, 'SHAPE_MISMATCH', 'E must be a square above 0; got 2');
  await refuses(
    { grids: [[1, 2, 1]] },
    'INVALID_ARGUMENT',
    'grids[0] must be at least 1 in all, rows and columns multiples of merge 2; got (1, 2, 1)',
  );
  await refuses({ grids: [[0, 2, 2]] }, 'INVALID_ARGUMENT', 'grids[0] must be at least 1');
  await refuses({ grids: [[1, -2, -2]] }, 'INVALID_ARGUMENT', 'grids[0] must be at least 1');
  await refuses(
    {
      grids: [
        [1, 2, 2],
        [1, 2, 2],
      ],
    },
    'INVALID_ARGUMENT',
    'grids must hold 4 patches; grids[1] (1, 2, 2) is more than is left',
  );
  await refuses({ grids: [[large, large, large]] }, 'INVALID_ARGUMENT', 'grids must hold 4 patches; grids[0]');
  await refuses({ grids: [[1, 1, 3]], merge: 1 }, 'INVALID_ARGUMENT', 'grids must hold 4 patches; got 3');
  await refuses({ merge: 0 }, 'INVALID_ARGUMENT', 'merge must be at least 1; got 0');
});
