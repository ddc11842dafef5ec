import { expect, it } from 'vitest';
import { expertLinear, expertLinearBackwardInput, expertLinearBackwardWeight } from '../../lib/kernels/expertLinear.ts';
import { tensor } from '../../lib/runtime/tensor.ts';
import { sameAsWidened } from '../support/sameAsWidened.ts';
import { sameForAnyThreads } from '../support/sameForAnyThreads.ts';
import { randoms, shaped, testGradient, testKernel } from '../support/testKernel.ts';

const scaled = (seed: number, by: number, ...shape: number[]) => shaped(randoms(seed, ...shape).map((x) => x * by), ...shape); // prettier-ignore
/** Groups of these sizes, a matrix for each. */
const groups = (sizes: number[], K: number, N: number) => {
  const starts = sizes.reduce((list, size) => [...list, list.at(-1)! + size], [0]);
  const P = starts.at(-1)!;
  return {
    forward: { x: scaled(1, 1 / Math.sqrt(K || 1), P, K), starts, weight: randoms(2, sizes.length, K, N) },
    input: { dY: scaled(3, 1 / Math.sqrt(N || 1), P, N), starts, weight: randoms(2, sizes.length, K, N) },
    weight: { dY: scaled(3, 1 / Math.sqrt(Math.max(1, ...sizes)), P, N), x: randoms(1, P, K), starts, dWeight: randoms(4, sizes.length, K, N) }, // prettier-ignore
  };
};
const cases = {
  one: groups([1], 1, 1),
  'no rows': groups([0, 0], 3, 4),
  'nothing to sum': groups([2, 1], 0, 4),
  'one row each': groups([1, 1, 1], 33, 20),
  'experts without rows': groups([0, 7, 0, 2, 0], 21, 18),
  'several tiles': groups([250, 3, 0, 90], 130, 70),
};
const of = (kind: 'forward' | 'input' | 'weight') => Object.fromEntries(Object.entries(cases).map(([name, c]) => [name, c[kind]])); // prettier-ignore
const tolerance = { f32: 1e-5, f64: 1e-12 }; // one factor is scaled so that sums are of order one
testKernel(expertLinear, { cases: of('forward'), tolerance });
testKernel(expertLinearBackwardInput, { cases: of('input'), tolerance });
testKernel(expertLinearBackwardWeight, { cases: of('weight'), tolerance });

const gradientCases = { odd: groups([3, 0, 2], 5, 4).forward };
testGradient(expertLinear, expertLinearBackwardInput, { cases: gradientCases, upstream: { y: 'dY' }, gradients: { x: 'dX' } }); // prettier-ignore
testGradient(expertLinear, expertLinearBackwardWeight, { cases: gradientCases, upstream: { y: 'dY' }, gradients: { weight: 'dWeight' } }); // prettier-ignore

sameAsWidened(expertLinear, { odd: groups([3, 0, 2, 40], 35, 50).forward });
sameAsWidened(expertLinearBackwardInput, { odd: groups([3, 0, 2, 40], 35, 50).input });

const large = groups([400, 31, 0, 500], 100, 60);
sameForAnyThreads(expertLinear, large.forward);
sameForAnyThreads(expertLinearBackwardInput, large.input);
sameForAnyThreads(expertLinearBackwardWeight, large.weight);

it.each([[[0, 2, 1]], [[0, 1, 4]], [[1, 2, 3]]])('refuses groups that begin at %j', async (starts) => {
  const [x, weight] = [tensor(new Float32Array(6), [3, 2]), tensor(new Float32Array(8), [2, 2, 2])];
  const { y } = expertLinear({ x, weight, starts: Int32Array.from(starts) });
  await expect(y.read()).rejects.toThrow('expert_linear: starts must rise from 0 to P = 3');
});
