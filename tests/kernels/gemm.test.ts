import fc from 'fast-check';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { gemm } from '../../lib/kernels/gemm.ts';
import { native } from '../../lib/runtime/native.ts';
import { tensor } from '../../lib/runtime/tensor.ts';
import { sameAsWidened } from '../support/sameAsWidened.ts';
import { wantCpu } from '../support/onCpu.ts';
import { expectClose, randoms, runReference, shaped, testKernel } from '../support/testKernel.ts';

const sized = (M: number, N: number, K: number) => ({
  a: shaped(
    randoms(1, M, K).map((x) => x / Math.sqrt(K || 1)),
    M,
    K,
  ),
  b: randoms(2, K, N),
});

beforeEach(({ skip }) => wantCpu(skip, 'products of other devices are judged as linear'));

testKernel(gemm, {
  cases: {
    one: { a: [[3]], b: [[-2]] },
    'no rows': sized(0, 3, 4),
    'no columns': sized(3, 0, 4),
    'nothing to sum': sized(3, 40, 0),
    'one row': sized(1, 70, 33),
    'one column': sized(45, 1, 17),
    'a block of every instruction set and one more': sized(15, 33, 19),
    'all equal': {
      a: shaped(new Float64Array(20 * 40).fill(0.5), 20, 40),
      b: shaped(new Float64Array(40 * 35).fill(2), 40, 35),
    },
    'chunks of k of unequal length': sized(29, 47, 523),
    'more than a tile of rows': sized(451, 37, 65),
    'many tiles both ways': sized(300, 290, 300),
    'k in several parts': sized(3, 40, 5003),
    'columns in several parts': sized(2, 2300, 1030),
  },
  tolerance: { f32: 1e-5, f64: 1e-12 }, // rows of a have a norm below 1, so that sums are of order one
  roundedTolerance: 0.02, // 2⁻⁹ of every product
});

sameAsWidened(
  gemm,
  { odd: sized(15, 33, 19), 'one row': sized(1, 70, 33), large: sized(29, 2300, 1030) },
  { rounds: true },
);

const f32 = (x: ArrayLike<number>, ...shape: number[]) => tensor(Float32Array.from(x), shape);

it('any odd size agrees with the reference', () =>
  fc.assert(
    fc.asyncProperty(fc.nat(40), fc.nat(70), fc.nat(50), async (M, N, K) => {
      const { a, b } = sized(M, N, K);
      const c = await gemm({ a: tensor(a, [M, K]), b: tensor(b, [K, N]) }).c.read();
      expectClose('c', c, runReference(gemm, { a: shaped(a, M, K), b: shaped(b, K, N) })['c']!, 1e-12); // as above
    }),
    { numRuns: 60, seed: 3 },
  ));

describe('bits', () => {
  const threads = native().threads();
  afterAll(() => native().setThreads(threads));
  const [M, N, K] = [500, 260, 700];
  const { a, b } = sized(M, N, K);

  it('do not depend on the number of threads', async () => {
    const results = [];
    for (const n of [1, 2, 5]) {
      native().setThreads(n);
      results.push(await gemm({ a: f32(a, M, K), b: f32(b, K, N) }).c.read());
    }
    expect(results[1]).toEqual(results[0]);
    expect(results[2]).toEqual(results[0]);
  });
  it('of a row do not depend on the other rows', async () => {
    const all = await gemm({ a: f32(a, M, K), b: f32(b, K, N) }).c.read();
    for (const [first, count] of [
      [0, 1],
      [3, 2],
      [16, 9],
      [100, 33],
    ] as const) {
      const some = await gemm({
        a: f32(a.subarray(first * K, (first + count) * K), count, K),
        b: f32(b, K, N),
      }).c.read();
      expect(some).toEqual(all.subarray(first * N, (first + count) * N));
    }
  });
  it('of infinities and NaN are those of their row and column alone', async () => {
    const wild = Float32Array.from(a);
    wild[7 * K + 5] = Infinity;
    wild[9 * K] = Number.NaN;
    const c = await gemm({ a: f32(wild, M, K), b: f32(b, K, N) }).c.read();
    for (let i = 0; i < M; i++)
      expect(c.subarray(i * N, i * N + N).every(Number.isFinite), `row ${i}`).toBe(i !== 7 && i !== 9);
  });
});
