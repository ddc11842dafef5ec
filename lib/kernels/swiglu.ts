import { defineKernel, real } from './defineKernel.ts';

export const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));

/**
 * The gated activation of the text layers.
 *
 *   y = silu(gate) · up      silu(g) = g / (1 + e⁻ᵍ)
 *
 * @source arXiv:2002.05202, equation 5
 */
export const swiglu = defineKernel({
  name: 'swiglu',
  inputs: { gate: real('R,I'), up: real('R,I') },
  outputs: { y: real('R,I') },
  reference({ gate, up }, { y }) {
    gate.forEach((g, i) => (y[i] = g * sigmoid(g) * up[i]!));
  },
  work: ({ R, I }) => ({ bytes: 12 * R! * I!, flops: 24 * R! * I! }),
});

/**
 * The gradients of {@link swiglu}.
 *
 *   dGate = dY · up · s · (1 + gate · (1 − s))      dUp = dY · gate · s      s = 1 / (1 + e⁻ᵍᵃᵗᵉ)
 */
export const swigluBackward = defineKernel({
  name: 'swiglu_backward',
  inputs: { dY: real('R,I'), gate: real('R,I'), up: real('R,I') },
  outputs: { dGate: real('R,I'), dUp: real('R,I') },
  reference({ dY, gate, up }, { dGate, dUp }) {
    gate.forEach((g, i) => {
      const s = sigmoid(g);
      dGate[i] = dY[i]! * up[i]! * s * (1 + g * (1 - s));
      dUp[i] = dY[i]! * g * s;
    });
  },
  work: ({ R, I }) => ({ bytes: 20 * R! * I!, flops: 30 * R! * I! }),
});
