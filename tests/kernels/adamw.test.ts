import { expect, it } from 'vitest';
import { adamw } from '../../lib/kernels/adamw.ts';
import { sameForAnyThreads } from '../support/sameForAnyThreads.ts';
import { randoms, runKernel, testKernel } from '../support/testKernel.ts';

const update = (N: number, more: Record<string, number> = {}) => ({
  gradient: randoms(1, N),
  parameter: randoms(2, N),
  firstMoment: randoms(3, N).map((v) => v / 10),
  secondMoment: randoms(4, N).map((v) => (v * v) / 10),
  learningRate: 1e-3,
  step: 3,
  ...more,
});

testKernel(adamw, {
  cases: {
    'the first step': {
      gradient: [1, -2, 0],
      parameter: [1, 1, 1],
      firstMoment: [0, 0, 0],
      secondMoment: [0, 0, 0],
      learningRate: 0.1,
      step: 1,
    },
    'one, with everything set': update(1, {
      beta1: 0.8,
      beta2: 0.95,
      epsilon: 1e-3,
      weightDecay: 0.1,
      gradientScale: 0.25,
    }),
    none: update(0),
    'no momentum': update(33, { beta1: 0, beta2: 0, weightDecay: 0.01 }),
    'a late step, more than a block': update(20001, { weightDecay: 0.01, step: 100000 }),
  },
  tolerance: { f32: 1e-6, f64: 1e-14 }, // a few roundings of numbers near 1
});
sameForAnyThreads(adamw, update(50001));

it('moves by the learning rate against the gradient at first, whatever its size', async () => {
  const zero = [0, 0, 0];
  const given = {
    gradient: [1e-3, -5, 1e6],
    parameter: zero,
    firstMoment: zero,
    secondMoment: zero,
    learningRate: 0.01,
    step: 1,
  };
  const { parameter } = await runKernel(adamw, given, 'f64');
  [-0.01, 0.01, -0.01].forEach((v, i) => expect(parameter![i]).toBeCloseTo(v, 6));
});

it('follows a parabola to its minimum', async () => {
  const state: Record<string, ArrayLike<number>> = { parameter: [3], firstMoment: [0], secondMoment: [0] };
  for (let step = 1; step <= 300; step++) {
    const gradient = [2 * (state['parameter']![0]! - 1)];
    Object.assign(
      state,
      await runKernel(adamw, { ...(state as Record<string, number[]>), gradient, learningRate: 0.1, step }, 'f32'),
    );
  }
  expect(state['parameter']![0]).toBeCloseTo(1, 3);
});

it('refuses a step before the first and betas outside [0, 1)', async () => {
  await expect(runKernel(adamw, update(2, { step: 0 }), 'f32')).rejects.toThrow('adamw: step must be at least 1');
  for (const beta of [{ beta1: 1 }, { beta2: 1 }, { beta1: -0.1 }])
    await expect(runKernel(adamw, update(2, beta), 'f32')).rejects.toThrow('adamw: beta1 and beta2 must be in [0, 1)');
});
