// Products by the instruction set that multiplies bf16 by bf16, emulated where the processor does not have it.
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { expertLinear, expertLinearBackwardInput } from '../../lib/kernels/expertLinear.ts';
import { gemm } from '../../lib/kernels/gemm.ts';
import { head, headBackward, headPolicyLoss } from '../../lib/kernels/head.ts';
import { linear, linearBackwardInput, linearBackwardWeight } from '../../lib/kernels/linear.ts';
import { fromBf16, toBf16 } from '../../lib/runtime/bf16.ts';
import { native } from '../../lib/runtime/native.ts';
import { tensor } from '../../lib/runtime/tensor.ts';
import { chooseAvx512Bf16 } from '../support/onCpu.ts';
import { sameAsWidened } from '../support/sameAsWidened.ts';
import { expectClose, randoms, runKernel, runReference, shaped, testKernel, type Case } from '../support/testKernel.ts';

const missing = chooseAvx512Bf16();
beforeEach(({ skip }) => {
  if (missing !== undefined) skip(missing);
});

const rounded = (x: ArrayLike<number>) => fromBf16(toBf16(Float32Array.from(x)));
const scaled = (seed: number, by: number, ...shape: number[]) =>
  shaped(Float32Array.from(randoms(seed, ...shape), (x) => x * by), ...shape); // prettier-ignore
/** Numbers that bf16 has, so that nothing is left to round. */
const narrow = (seed: number, by: number, ...shape: number[]) =>
  shaped(Float64Array.from(rounded(scaled(seed, by, ...shape))), ...shape);

const sizes = [
  [0, 5, 4],
  [1, 1, 1],
  [3, 5, 0],
  [1, 384, 129],
  [2, 17, 255],
  [8, 48, 256],
  [9, 49, 257],
  [17, 47, 31],
  [33, 16, 513],
  [64, 97, 1100],
  [300, 130, 77],
  [600, 33, 640],
  [3, 40, 5003], // k in several parts
  [40, 1200, 1030],
] as const;
const cases = (make: (M: number, N: number, K: number) => Case) =>
  Object.fromEntries(sizes.map(([M, N, K]) => [`${M} × ${N} × ${K}`, make(M, N, K)]));
const by = (n: number) => 1 / Math.sqrt(n || 1);
// what f32 has: of factors in bf16 products are exact, and one factor is scaled so that sums are of order one
const tolerance = { f32: 1e-5, f64: 1e-12 };
const wide = (M: number, N: number, K: number) => ({ bias: randoms(3, N), residual: randoms(4, M, N) , x: narrow(1, by(K), M, K), weight: narrow(2, 1, N, K) }); // prettier-ignore

testKernel(gemm, { cases: cases((M, N, K) => ({ a: narrow(1, by(K), M, K), b: narrow(2, 1, K, N) })), tolerance });
testKernel(linear, { cases: cases(wide), tolerance });
testKernel(linearBackwardInput, { cases: cases((M, N, K) => ({ dY: narrow(1, by(N), M, N), weight: narrow(2, 1, N, K) })), tolerance }); // prettier-ignore
testKernel(linearBackwardWeight, {
  cases: cases((N, K, M) => ({
    dY: narrow(1, by(M), M, N),
    x: narrow(2, 1, M, K),
    dWeight: randoms(3, N, K),
    dBias: randoms(4, N),
    inBf16: true,
  })),
  tolerance,
});

const tokens = (N: number, H: number, V: number): Case => {
  const targets = Int32Array.from({ length: N }, (_, i) => (i * 3) % V);
  return { hidden: narrow(1, 3, N, H), weight: narrow(2, by(H), V, H), targets, temperature: 0.7 };
};
testKernel(head, { cases: { 'one token': tokens(1, 37, 1301), 'several blocks': tokens(400, 37, 1301) }, tolerance });

it.each([
  [1, 16, 50],
  [400, 37, 301],
])('head: gradients of %i tokens, whose slopes are rounded', async (N, H, V) => {
  const c = tokens(N, H, V);
  const { logProbs, ...found } = runReference(head, c) as Record<string, Float64Array<ArrayBuffer>>;
  const slopes = { dLogProbs: randoms(3, N), dEntropy: randoms(4, N), dWeight: randoms(5, V, H) };
  const lists = { logProbSlopes: randoms(3, N), entropySlopes: randoms(4, N), dWeight: randoms(5, V, H) };
  const loss = { oldLogProbs: logProbs, advantages: randoms(6, N), weights: randoms(7, N).map((x) => (x + 1.1) / N) };
  for (const [kernel, given] of [
    [headBackward, { ...c, ...found, ...slopes }],
    [headPolicyLoss, { ...c, ...loss, ...lists }],
  ] as const) {
    const [want, got] = [runReference(kernel, given), await runKernel(kernel, given, 'bf16')];
    for (const key of Object.keys(want))
      if (key !== 'clipped') expectClose(`${kernel.declaration.name}.${key}`, got[key]!, want[key]!, 0.02); // 2⁻⁹ of every product
  }
});

const starts = [0, 3, 3, 40, 300];
const experts = { starts, weight: narrow(2, 1, 4, 257, 50) };
// they are not rounded
sameAsWidened(expertLinear, { odd: { ...experts, x: randoms(1, 300, 257) } });
sameAsWidened(expertLinearBackwardInput, { odd: { ...experts, dY: randoms(1, 300, 50) } });

describe('what is rounded', () => {
  it('rows beside weights in bf16, to the nearest, and not what is added', async () => {
    for (const [M, N, K] of sizes) {
      const given: Case = { ...wide(M, N, K), x: scaled(1, 1, M, K) };
      const [got, same] = [given, { ...given, x: shaped(rounded(given['x'] as Float32Array), M, K) }];
      expect(await runKernel(linear, got, 'bf16'), `${M} × ${N} × ${K}`).toEqual(await runKernel(linear, same, 'bf16'));
    }
  });
  it('both factors of the gradient of a weight, if it may be, and not those of a bias', async () => {
    for (const [N, K, M] of sizes) {
      const given = { dY: scaled(1, 1, M, N), x: scaled(2, 1, M, K), dWeight: randoms(3, N, K), dBias: randoms(4, N) };
      const same = { ...given, dY: shaped(rounded(given.dY), M, N), x: shaped(rounded(given.x), M, K) };
      const of = (c: Case, inBf16: boolean) => runKernel(linearBackwardWeight, { ...c, inBf16 }, 'f32');
      const [got, near, exact] = [await of(given, true), await of(same, true), await of(given, false)];
      expect(got['dWeight'], `${M} × ${N} × ${K}`).toEqual(near['dWeight']);
      expectClose('dBias', got['dBias']!, exact['dBias']!, 1e-5); // f32, added in chunks of another length
    }
  });
});

/** What the instruction makes of a row and a column: pairs along k, the second of each first, in chunks that are added up. All sums are exact in f64. */
function chain(a: Float32Array, b: Float32Array): number {
  const K = a.length;
  const chunk = Math.ceil(Math.ceil(K / Math.ceil(K / 256)) / 32) * 32;
  let all = 0;
  for (let from = 0; from < K; from += chunk) {
    let sum = 0;
    for (let k = from; k < Math.min(K, from + chunk); k += 2)
      for (const at of [k + 1, k]) if (at < K) sum = Math.fround(sum + a[at]! * b[at]!);
    all = Math.fround(all + sum);
  }
  return all;
}
/** Numbers of few magnitudes, whose products and sums f64 holds. */
const plain = (seed: number, ...shape: number[]) =>
  shaped(rounded(randoms(seed, ...shape).map((x) => Math.sign(x) * (0.125 + Math.abs(x)))), ...shape);

describe('bits', () => {
  const threads = native().threads();
  afterAll(() => native().setThreads(threads));
  const Ks = [1, 2, 5, 31, 32, 255, 256, 257, 511, 513, 700];
  const rowCounts = [1, 2, 3, 8, 9, 16, 17, 64];
  const N = 49;
  const M = 300;
  type Product = (
    x: Float32Array<ArrayBuffer>,
    w: Uint16Array<ArrayBuffer>,
    rows: number,
    K: number,
  ) => Promise<Float32Array | Float64Array>;
  const products: Record<string, Product> = {
    // the weight's columns lie along memory, or its rows do
    linear: (x, w, rows, K) => linear({ x: tensor(x, [rows, K]), weight: tensor(w, [N, K]) }).y.read(),
    gemm: (x, w, rows, K) => gemm({ a: tensor(x, [rows, K]), b: tensor(w, [K, N]) }).c.read(),
  };
  /** The column of a weight as either has it. */
  const column = (name: string, w: Float32Array, j: number, K: number) =>
    Float32Array.from({ length: K }, (_, k) => w[name === 'linear' ? j * K + k : k * N + j]!);

  it.each(Object.entries(products))(
    'of %s are the chain that is written down, whatever rows are beside',
    async (name, product) => {
      for (const K of Ks) {
        const [x, w] = [plain(1, M, K), plain(2, N, K)];
        const all = await product(x, toBf16(w), M, K);
        for (const i of [0, 8, 9, 251, 252, 299])
          for (let j = 0; j < N; j++)
            expect(all[i * N + j], `K ${K}, ${i}, ${j}`).toBe(
              chain(x.subarray(i * K, i * K + K), column(name, w, j, K)),
            );
        for (const rows of rowCounts) {
          const first = M - rows - 5;
          const some = await product(x.slice(first * K, (first + rows) * K), toBf16(w), rows, K);
          expect(some, `K ${K}, ${rows} rows`).toEqual(all.subarray(first * N, (first + rows) * N));
        }
      }
    },
  );

  it('do not depend on the number of threads', async () => {
    const [m, n, k] = [700, 100, 531];
    const results = [];
    for (const count of [1, 2, 5]) {
      native().setThreads(count);
      results.push([
        await runKernel(linear, { x: randoms(1, m, k), weight: randoms(2, n, k) }, 'bf16'),
        await runKernel(linearBackwardInput, { dY: randoms(1, m, n), weight: randoms(2, n, k) }, 'bf16'),
        await runKernel(linearBackwardWeight, { dY: randoms(1, m, n), x: randoms(2, m, k), dWeight: randoms(3, n, k), dBias: randoms(4, n), inBf16: true }, 'f32'), // prettier-ignore
      ]);
    }
    expect(results[1]).toEqual(results[0]);
    expect(results[2]).toEqual(results[0]);
  });

  it.each(Object.entries(products))(
    'of infinities and NaN in %s are those of their row and column alone',
    async (name, product) => {
      for (const K of [33, 257])
        for (const rows of [3, 40]) {
          const [x, w] = [plain(1, rows, K), plain(2, N, K)];
          x[K - 1] = Infinity; // beside the number that is missing
          x[2 * K + 4] = Number.NaN;
          w[name === 'linear' ? 7 * K + 1 : N + 7] = -Infinity;
          const y = await product(x, toBf16(w), rows, K);
          for (let i = 0; i < rows; i++)
            for (let j = 0; j < N; j++)
              expect(Number.isFinite(y[i * N + j]), `${rows} rows of ${K}: ${i}, ${j}`).toBe(
                i !== 0 && i !== 2 && j !== 7,
              );
        }
    },
  );

  it('denormals are zeros, what is past the largest number is infinite', async () => {
    const y = await products['linear']!(Float32Array.of(1e-39, 2 ** 127), toBf16(Float32Array.from({ length: 2 * N }, (_, i) => (i % 2 ? 2 : 2 ** 20))), 1, 2); // prettier-ignore
    expect(y[0]).toBe(Infinity);
    const z = await products['linear']!(Float32Array.of(1e-39, -1e-39), toBf16(new Float32Array(2 * N).fill(2 ** 20)), 1, 2); // prettier-ignore
    expect(z[0]).toBe(0);
    const least = await products['linear']!(Float32Array.of(2 ** -100, 0), toBf16(new Float32Array(2 * N).fill(2 ** -30)), 1, 2); // prettier-ignore
    expect(least[0]).toBe(0);
  });

  // the last one: an instruction set that is put aside stays so for the process, which is of this file alone
  it('are those of the processor where it has the instruction', async ({ skip }) => {
    if (native().hostIsa() !== 'avx512bf16') skip('this processor does not have it, or hides it');
    const run = async () => {
      const results = [];
      for (const [rows, n, K] of sizes) results.push(await runKernel(gemm, { a: randoms(1, rows, K), b: randoms(2, K, n) }, 'bf16')); // prettier-ignore
      return results;
    };
    const processor = await run();
    expect(native().limitIsa('avx512bf16_emulated')).toBe('avx512bf16_emulated');
    expect(await run()).toEqual(processor);
  });
});
