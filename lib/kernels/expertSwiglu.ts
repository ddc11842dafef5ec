import { defineKernel, i32, real } from './defineKernel.ts';
import { sigmoid } from './swiglu.ts';

/**
 * The gated activation of experts, times the weight of the pair that stands in a row; gate and up are the halves of a row.
 *
 *   y[p] = weights[order[p]] · silu(gate[p]) · up[p]
 *
 * @throws INVALID_ARGUMENT  an order is not in [0, P)
 */
export const expertSwiglu = defineKernel({
  name: 'expert_swiglu',
  inputs: { gateUp: real('P,2*I'), weights: real('P'), order: i32('P') },
  outputs: { y: real('P,I') },
  reference({ gateUp, weights, order, dims }, { y }) {
    const I = dims['I']!;
    order.forEach((pair, p) => {
      for (let i = 0; i < I; i++) {
        const [g, u] = [gateUp[2 * p * I + i]!, gateUp[(2 * p + 1) * I + i]!];
        y[p * I + i] = weights[pair]! * g * sigmoid(g) * u;
      }
    });
  },
  work: ({ P, I }) => ({ bytes: 12 * P! * I!, flops: 25 * P! * I! }),
});

/**
 * The gradients of {@link expertSwiglu}; `order` names every pair once.
 *
 *   dGate = w·dY · up · s · (1 + gate · (1 − s))      dUp = w·dY · gate · s      dWeights[order[p]] = Σᵢ dY · gate · s · up
 *
 * @throws INVALID_ARGUMENT  an order is not in [0, P)
 */
export const expertSwigluBackward = defineKernel({
  name: 'expert_swiglu_backward',
  inputs: { dY: real('P,I'), gateUp: real('P,2*I'), weights: real('P'), order: i32('P') },
  outputs: { dGateUp: real('P,2*I'), dWeights: real('P') },
  reference({ dY, gateUp, weights, order, dims }, { dGateUp, dWeights }) {
    const I = dims['I']!;
    order.forEach((pair, p) => {
      for (let i = 0; i < I; i++) {
        const [gate, up] = [2 * p * I + i, (2 * p + 1) * I + i];
        const [g, u, d] = [gateUp[gate]!, gateUp[up]!, dY[p * I + i]!];
        const s = sigmoid(g);
        dGateUp[gate] = weights[pair]! * d * u * s * (1 + g * (1 - s));
        dGateUp[up] = weights[pair]! * d * g * s;
        dWeights[pair]! += d * g * s * u;
      }
    });
  },
  work: ({ P, I }) => ({ bytes: 20 * P! * I!, flops: 33 * P! * I! }),
});
