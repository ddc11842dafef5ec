import { afterAll, describe, expect, it } from 'vitest';
import { linear, linearBackwardInput, linearBackwardWeight, packWeight } from '../../lib/kernels/linear.ts';
import { toBf16 } from '../../lib/runtime/bf16.ts';
import { native } from '../../lib/runtime/native.ts';
import { tensor } from '../../lib/runtime/tensor.ts';
import { wantCpu } from '../support/onCpu.ts';
import { sameAsWidened } from '../support/sameAsWidened.ts';
import { randoms, runKernel, shaped, testGradient, testKernel } from '../support/testKernel.ts';

const scaled = (seed: number, by: number, ...shape: number[]) =>
  shaped(
    randoms(seed, ...shape).map((x) => x * by),
    ...shape,
  );
const tolerance = { f32: 1e-5, f64: 1e-12 }; // one factor is scaled so that sums are of order one
const roundedTolerance = 0.02; // 2⁻⁹ of every product

const forward = (M: number, N: number, K: number) => ({
  x: scaled(1, 1 / Math.sqrt(K || 1), M, K),
  weight: randoms(2, N, K),
});
const full = (M: number, N: number, K: number) => ({
  ...forward(M, N, K),
  bias: randoms(3, N),
  residual: randoms(4, M, N),
});

testKernel(linear, {
  cases: {
    one: { x: [[2]], weight: [[-3]], bias: [0.5], residual: [[1]] },
    'all equal': {
      x: shaped(new Float64Array(35).fill(1), 5, 7),
      weight: shaped(new Float64Array(21).fill(0.25), 3, 7),
    },
    'no rows': full(0, 5, 4),
    'nothing to sum': full(3, 5, 0),
    'without bias and residual': forward(17, 35, 21),
    'with bias': { ...forward(33, 50, 40), bias: randoms(3, 50) },
    'with a residual': { ...forward(33, 50, 300), residual: randoms(4, 33, 50) },
    'with both, several tiles': full(241, 130, 277),
    'one row': full(1, 384, 128),
    'a few rows': full(5, 130, 396),
    'columns in several parts': full(2, 1200, 1030),
  },
  tolerance,
  roundedTolerance,
});
testKernel(linearBackwardInput, {
  cases: {
    'no rows': { dY: randoms(1, 0, 4), weight: randoms(2, 4, 3) },
    odd: { dY: scaled(1, 0.2, 19, 37), weight: randoms(2, 37, 45) },
    'several tiles': { dY: scaled(1, 0.1, 230, 270), weight: randoms(2, 270, 66) },
  },
  tolerance,
  roundedTolerance,
});
const backwardWeight = (M: number, N: number, K: number) => ({
  dY: scaled(1, 1 / Math.sqrt(M || 1), M, N),
  x: randoms(2, M, K),
  dWeight: randoms(3, N, K),
});
testKernel(linearBackwardWeight, {
  cases: {
    'no rows change nothing': { ...backwardWeight(0, 5, 3), dBias: [1, 2, 3, 4, 5] },
    'without bias': backwardWeight(19, 37, 45),
    'with bias': { ...backwardWeight(19, 37, 45), dBias: randoms(4, 37) },
    'the bias alone': { ...backwardWeight(19, 37, 45), dWeight: undefined, dBias: randoms(4, 37) },
    'one output': { ...backwardWeight(300, 1, 20), dBias: [7] },
    'many rows': { ...backwardWeight(4200, 40, 36), dBias: randoms(4, 40) },
    'more columns than are worth reading where they are': backwardWeight(50, 30, 500),
    'several tiles': { ...backwardWeight(260, 250, 70), dBias: randoms(4, 250) },
    'more outputs than are computed chunk by chunk': backwardWeight(450, 520, 20),
    'columns that meet in a cache set': backwardWeight(210, 512, 30),
    'chunk by chunk, in several parts': backwardWeight(210, 20, 900),
    'chunk by chunk, in stretches and parts': { ...backwardWeight(3300, 270, 700), dBias: randoms(4, 270) },
    'more elements than are added up apart': backwardWeight(1700, 300, 900),
  },
  tolerance,
});

const gradientCases = {
  odd: { x: randoms(1, 5, 7), weight: randoms(2, 3, 7), bias: randoms(3, 3), residual: randoms(4, 5, 3) },
};
testGradient(linear, linearBackwardInput, { cases: gradientCases, upstream: { y: 'dY' }, gradients: { x: 'dX' } });
testGradient(linear, linearBackwardWeight, {
  cases: gradientCases,
  upstream: { y: 'dY' },
  gradients: { weight: 'dWeight', bias: 'dBias' },
});

sameAsWidened(
  linear,
  {
    'one row': full(1, 384, 128),
    'few rows, odd sizes': full(7, 131, 397),
    'few rows of a large weight': forward(13, 1029, 1031),
    'many rows': full(241, 130, 277),
    'columns in several parts': full(40, 1200, 1030),
  },
  { rounds: true },
);
sameAsWidened(linearBackwardInput, { odd: { dY: randoms(1, 19, 37), weight: randoms(2, 37, 45) } }, { rounds: true });

describe('a packed weight', () => {
  it.for(['f32', 'f64', 'bf16'] as const)('gives the bits of the weight, in %s', async (kind, { skip }) => {
    wantCpu(skip, 'a GPU reads weights as they are');
    for (const [M, N, K] of [
      [1, 384, 128],
      [0, 5, 4],
      [3, 5, 0],
      [2, 0, 3],
      [7, 131, 397],
      [20, 1200, 1030],
      [241, 130, 277],
      [300, 50, 33],
    ] as const) {
      const { x, weight, bias, residual } = full(M, N, K);
      const reals = (values: Iterable<number>, ...shape: number[]) =>
        tensor(kind === 'f64' ? Float64Array.from(values) : Float32Array.from(values), shape);
      const w = kind === 'bf16' ? tensor(toBf16(Float32Array.from(weight)), [N, K]) : reals(weight, N, K);
      const args = { x: reals(x, M, K), weight: w, bias: reals(bias, N), residual: reals(residual, M, N) };
      const { packed } = packWeight({ weight: w });
      expect(packed.shape).toEqual([N + 64, K]);
      // twice the same, whatever was in its memory before
      expect(await packed.read()).toEqual(await packWeight({ weight: w }).packed.read());
      expect(await linear({ ...args, packed }).y.read()).toEqual(await linear(args).y.read());
    }
  });

  it('that is none, or one of another type, is refused', async ({ skip }) => {
    wantCpu(skip, 'a GPU reads weights as they are');
    const reals = new Float32Array(6).fill(0.5);
    const [x, wide, narrow] = [
      tensor(new Float32Array(3), [1, 3]),
      tensor(reals, [2, 3]),
      tensor(toBf16(reals), [2, 3]),
    ];
    const zeros = tensor(new Float32Array(66 * 3), [66, 3]);
    for (const [weight, packed] of [
      [wide, packWeight({ weight: narrow }).packed],
      [narrow, packWeight({ weight: wide }).packed],
      [wide, zeros],
    ] as const)
      await expect(linear({ x, weight, packed }).y.read()).rejects.toMatchObject({
        code: 'INVALID_ARGUMENT',
        message: expect.stringMatching(/^linear: packed must be what pack_weight has made of a weight/) as string,
      });
  });

  it('of another size is refused', () => {
    const [x, weight] = [tensor(new Float32Array(3), [1, 3]), tensor(new Float32Array(6), [2, 3])];
    expect(() => linear({ x, weight, packed: tensor(new Float32Array(195), [65, 3]) })).toThrow(
      'linear: packed must be {f32|f64}[N+64,K]? with M = 1, K = 3, N = 2; got [65, 3]',
    );
  });
});

it('a weight in bf16 wants reals in f32', () => {
  const weight = tensor(new Uint16Array(6), [2, 3]);
  expect(() => linear({ x: tensor(new Float64Array(3), [1, 3]), weight })).toThrow(
    'linear: weight must be f64[N,K]; got bf16[2, 3]',
  );
  const y = linear({ x: tensor(new Float32Array(3), [1, 3]), weight }).y;
  expect(`${y}`).toBe('f32[1, 2]');
  expect(() => linear({ x: tensor(new Uint16Array(3), [1, 3]), weight })).toThrow('x must be f32 or f64[M,K]');
});

it('gives the same bits with any number of threads, forward and backward', async () => {
  const threads = native().threads();
  afterAll(() => native().setThreads(threads));
  const [M, N, K] = [700, 200, 130];
  const results = [];
  for (const n of [1, 2, 3, 8]) {
    native().setThreads(n);
    results.push([
      await runKernel(linear, full(M, N, K), 'f32'),
      await runKernel(linear, full(M, N, K), 'bf16'),
      await runKernel(linearBackwardInput, { dY: randoms(1, M, N), weight: randoms(2, N, K) }, 'f32'),
      await runKernel(linearBackwardWeight, { ...backwardWeight(M, N, K), dBias: randoms(5, N) }, 'f32'),
      await runKernel(linearBackwardWeight, { ...backwardWeight(4200, 300, 60), dBias: randoms(5, 300) }, 'f32'),
    ]);
  }
  for (const result of results) expect(result).toEqual(results[0]);
});

it('has the bits of one output, whether its bias is trained or not', async () => {
  const given = backwardWeight(5000, 1, 48);
  const beside = await runKernel(linearBackwardWeight, { ...given, dBias: [7] }, 'f32');
  const alone = await runKernel(linearBackwardWeight, given, 'f32');
  expect(alone['dWeight']).toEqual(beside['dWeight']);
});

it('sums a bias to the same bits, whether the weight is trained or not', async () => {
  const given = { ...backwardWeight(4200, 300, 60), dBias: randoms(5, 300) };
  const beside = await runKernel(linearBackwardWeight, given, 'f32');
  const alone = await runKernel(linearBackwardWeight, { ...given, dWeight: undefined }, 'f32');
  expect(alone['dBias']).toEqual(beside['dBias']);
});

it('says which dimensions disagree', () => {
  expect(() => linear({ x: tensor(new Float32Array(6), [2, 3]), weight: tensor(new Float32Array(8), [2, 4]) })).toThrow(
    /linear: weight must be .*\[N,K\] with M = 2, K = 3.*; got \[2, 4\]/,
  );
});
