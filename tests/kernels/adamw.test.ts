import { expect, it } from 'vitest';
import { adamw } from '../../lib/kernels/adamw.ts';
import { sameForAnyThreads } from '../support/sameForAnyThreads.ts';
import { randoms, runKernel, testKernel } from '../support/testKernel.ts';

/** One update of tensors of some sizes. */
const update = (sizes: number[], more: Record<string, number> = {}) => ({
  gradients: sizes.map((N) => randoms(1, N)),
  parameters: sizes.map((N) => randoms(2, N)),
  firstMoments: sizes.map((N) => randoms(3, N).map((v) => v / 10)),
  secondMoments: sizes.map((N) => randoms(4, N).map((v) => (v * v) / 10)),
  learningRate: 1e-3,
  step: 3,
  ...more,
});

testKernel(adamw, {
  cases: {
    'the first step': {
      gradients: [[1, -2, 0]],
      parameters: [[1, 1, 1]],
      firstMoments: [[0, 0, 0]],
      secondMoments: [[0, 0, 0]],
      learningRate: 0.1,
      step: 1,
    },
    'one, with everything set': update([1], {
      beta1: 0.8,
      beta2: 0.95,
      epsilon: 1e-3,
      weightDecay: 0.1,
      gradientScale: 0.25,
    }),
    none: update([0]),
    'no tensor': update([]),
    'no momentum': update([33], { beta1: 0, beta2: 0, weightDecay: 0.01 }),
    'a late step, more than a block': update([20001], { weightDecay: 0.01, step: 100000 }),
    'several tensors, one of them empty': update([17, 0, 40000, 1], { weightDecay: 0.01 }),
  },
  tolerance: { f32: 1e-6, f64: 1e-14 }, // a few roundings of numbers near 1
});
sameForAnyThreads(adamw, update([50001, 3, 40000]));

it('moves by the learning rate against the gradient at first, whatever its size', async () => {
  const zero = [0, 0, 0];
  const given = {
    gradients: [[1e-3, -5, 1e6]],
    parameters: [zero],
    firstMoments: [zero],
    secondMoments: [zero],
    learningRate: 0.01,
    step: 1,
  };
  const { parameters } = await runKernel(adamw, given, 'f64');
  [-0.01, 0.01, -0.01].forEach((v, i) => expect(parameters![i]).toBeCloseTo(v, 6));
});

it('follows a parabola to its minimum', async () => {
  let state: Record<string, number[][]> = { parameters: [[3]], firstMoments: [[0]], secondMoments: [[0]] };
  for (let step = 1; step <= 300; step++) {
    const gradients = [[2 * (state['parameters']![0]![0]! - 1)]];
    const next = await runKernel(adamw, { ...state, gradients, learningRate: 0.1, step }, 'f32');
    state = Object.fromEntries(Object.entries(next).map(([name, values]) => [name, [Array.from(values)]]));
  }
  expect(state['parameters']![0]![0]).toBeCloseTo(1, 3);
});

it('refuses a step before the first and betas outside [0, 1)', async () => {
  await expect(runKernel(adamw, update([2], { step: 0 }), 'f32')).rejects.toThrow('adamw: step must be at least 1');
  for (const beta of [{ beta1: 1 }, { beta2: 1 }, { beta1: -0.1 }])
    await expect(runKernel(adamw, update([2], beta), 'f32')).rejects.toThrow(
      'adamw: beta1 and beta2 must be in [0, 1)',
    );
});

it('refuses lists that are not of one length, tensor by tensor', async () => {
  const code = 'SHAPE_MISMATCH';
  await expect(
    runKernel(
      adamw,
      {
        ...update([2, 3]),
        parameters: [
          [1, 2],
          [3, 4],
        ],
      },
      'f32',
    ),
  ).rejects.toMatchObject({ code });
  await expect(runKernel(adamw, { ...update([2, 3]), firstMoments: [[1, 2]] }, 'f32')).rejects.toMatchObject({
    code,
    message: 'adamw: firstMoments must be as many tensors, of the same sizes, as the other lists',
  });
});
