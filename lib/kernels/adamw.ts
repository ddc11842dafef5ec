import { parameterWord, roundAtRandom } from './rounding.ts';
import { defineKernel, integer, many, number, real, stored } from './defineKernel.ts';

/**
 * One AdamW update, in place, of all parameters and both moments of each: one launch, however many tensors there are.
 *
 *   g = gradientScale · gradient
 *   m ← β₁·m + (1 − β₁)·g      v ← β₂·v + (1 − β₂)·g²
 *   p ← p − lr·weightDecay·p − lr · m̂ / (√v̂ + ε)      m̂ = m / (1 − β₁ˢᵗᵉᵖ), v̂ = v / (1 − β₂ˢᵗᵉᵖ)
 *
 * Decay is of the parameter before the update and does not pass through the moments. Gradients that are not finite make
 * parameters that are not finite; whether to take such a step is for the caller to decide.
 *
 * Parameters of bf16 are computed in f32 and become one of their two neighbours in bf16, by 16 random bits and with the probability
 * that keeps them in the mean: a step is often smaller than half the distance between neighbours and would be lost otherwise. The
 * random numbers are a pure function of step, place of the tensor (from `firstPlace` on) and of the element (from `firstElement` on).
 *
 * @throws SHAPE_MISMATCH    the lists are not of one length
 * @throws INVALID_ARGUMENT  step is below 1, firstPlace or firstElement below 0, or a beta is not in [0, 1)
 * @source arXiv:1711.05101, algorithm 2
 */
export const adamw = defineKernel({
  name: 'adamw',
  inputs: { gradients: many(real('N')) },
  updates: { parameters: many(stored('N')), firstMoments: many(real('N')), secondMoments: many(real('N')) },
  scalars: {
    learningRate: number(),
    beta1: number(0.9),
    beta2: number(0.999),
    epsilon: number(1e-8),
    weightDecay: number(0),
    /** this update's number, from 1 */
    step: integer(),
    /** what clipping by the global norm multiplies gradients with */
    gradientScale: number(1),
    /** of the first tensor of the lists, among all that the update moves: random numbers go by it */
    firstPlace: integer(0),
    /** of the tensors, where the lists hold a piece of each: it begins there */
    firstElement: integer(0),
  },
  outputs: {},
  reference({ gradients, parameters, firstMoments, secondMoments, kept, ...s }) {
    gradients.forEach((gradient, k) => {
      const [parameter, firstMoment, secondMoment] = [parameters[k]!, firstMoments[k]!, secondMoments[k]!];
      gradient.forEach((unscaled, i) => {
        const g = unscaled * s.gradientScale;
        firstMoment[i] = s.beta1 * firstMoment[i]! + (1 - s.beta1) * g;
        secondMoment[i] = s.beta2 * secondMoment[i]! + (1 - s.beta2) * g * g;
        const mean = firstMoment[i]! / (1 - s.beta1 ** s.step);
        const root = Math.sqrt(secondMoment[i]! / (1 - s.beta2 ** s.step));
        parameter[i]! -= s.learningRate * (s.weightDecay * parameter[i]! + mean / (root + s.epsilon));
        if (kept === 'bf16')
          parameter[i] = roundAtRandom(parameter[i]!, parameterWord(s.step, s.firstPlace + k, s.firstElement + i));
      });
    });
  },
  work: ({ N }) => ({ bytes: 28 * N!, flops: 14 * N! }),
});
