import { defineKernel, real } from './defineKernel.ts';
import { normalCdfReference } from './normalQuantile.ts';

const ROOT = Math.sqrt(2 / Math.PI);
const CUBE = 0.044715;
const inner = (x: number) => Math.tanh(ROOT * (x + CUBE * x ** 3));
const density = (x: number) => Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI);

/**
 * GELU in the tanh approximation, as in the blocks of the vision tower.
 *
 *   y = x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))
 *
 * @source arXiv:1606.08415, section 2
 */
export const geluTanh = defineKernel({
  name: 'gelu_tanh',
  inputs: { x: real('R,I') },
  outputs: { y: real('R,I') },
  reference({ x }, { y }) {
    x.forEach((v, i) => (y[i] = (v / 2) * (1 + inner(v))));
  },
  work: ({ R, I }) => ({ bytes: 8 * R! * I!, flops: 26 * R! * I! }),
});

/**
 * The gradient of {@link geluTanh}.
 *
 *   dX = dY · ((1 + t)/2 + x/2 · (1 − t²) · √(2/π) · (1 + 3·0.044715 x²))      t the hyperbolic tangent
 */
export const geluTanhBackward = defineKernel({
  name: 'gelu_tanh_backward',
  inputs: { dY: real('R,I'), x: real('R,I') },
  outputs: { dX: real('R,I') },
  reference({ dY, x }, { dX }) {
    x.forEach((v, i) => {
      const t = inner(v);
      dX[i] = dY[i]! * ((1 + t) / 2 + (v / 2) * (1 - t * t) * ROOT * (1 + 3 * CUBE * v * v));
    });
  },
  work: ({ R, I }) => ({ bytes: 12 * R! * I!, flops: 34 * R! * I! }),
});

/**
 * GELU by the normal distribution itself, as in the mergers of the vision tower.
 *
 *   y = x · Φ(x) = x/2 · (1 + erf(x/√2))
 *
 * @source arXiv:1606.08415, section 2
 */
export const geluErf = defineKernel({
  name: 'gelu_erf',
  inputs: { x: real('R,I') },
  outputs: { y: real('R,I') },
  reference({ x }, { y }) {
    x.forEach((v, i) => (y[i] = v * normalCdfReference(v)));
  },
  work: ({ R, I }) => ({ bytes: 8 * R! * I!, flops: 40 * R! * I! }),
});

/**
 * The gradient of {@link geluErf}.
 *
 *   dX = dY · (Φ(x) + x · φ(x))      φ the standard normal density
 */
export const geluErfBackward = defineKernel({
  name: 'gelu_erf_backward',
  inputs: { dY: real('R,I'), x: real('R,I') },
  outputs: { dX: real('R,I') },
  reference({ dY, x }, { dX }) {
    x.forEach((v, i) => (dX[i] = dY[i]! * (normalCdfReference(v) + v * density(v))));
  },
  work: ({ R, I }) => ({ bytes: 12 * R! * I!, flops: 44 * R! * I! }),
});
