import { defineKernel, number, real } from './defineKernel.ts';

/**
 * Rows shifted to mean 0 and scaled to variance 1, times a weight and plus a bias per column.
 *
 *   yᵢ = wᵢ · (xᵢ − mean) · rstd + bᵢ      rstd = 1 / √(variance + ε)
 *
 * The variance is the population's, about the mean: a large common offset costs no precision.
 *
 * @throws INVALID_ARGUMENT  D is 0
 * @source arXiv:1607.06450, equation 4
 */
export const layerNorm = defineKernel({
  name: 'layer_norm',
  inputs: { x: real('R,D'), weight: real('D'), bias: real('D') },
  scalars: { epsilon: number(1e-6) },
  outputs: { y: real('R,D'), mean: real('R'), rstd: real('R') },
  reference({ x, weight, bias, epsilon, dims }, { y, mean, rstd }) {
    const D = dims['D']!;
    for (let r = 0; r < dims['R']!; r++) {
      const row = x.subarray(r * D, (r + 1) * D);
      const m = (mean[r] = row.reduce((sum, v) => sum + v, 0) / D);
      rstd[r] = 1 / Math.sqrt(row.reduce((sum, v) => sum + (v - m) ** 2, 0) / D + epsilon);
      row.forEach((v, i) => (y[r * D + i] = weight[i]! * (v - m) * rstd[r]! + bias[i]!));
    }
  },
  work: ({ R, D }) => ({ bytes: 8 * R! * D!, flops: 8 * R! * D! }),
});

/**
 * The gradient of {@link layerNorm}, added to that of the residual stream; those of weight and bias are added to dWeight and dBias,
 * where these are given.
 *
 *   dX = residual + rstd · (dY·w − mean(dY·w) − x̂ · mean(dY·w·x̂))      x̂ = (x − mean) · rstd
 *   dWeight += Σ over rows of dY · x̂      dBias += Σ over rows of dY
 *
 * @throws INVALID_ARGUMENT  D is 0
 */
export const layerNormBackward = defineKernel({
  name: 'layer_norm_backward',
  inputs: {
    dY: real('R,D'),
    x: real('R,D'),
    weight: real('D'),
    mean: real('R'),
    rstd: real('R'),
    /** gradient that reaches x past the norm */
    residual: real('R,D?'),
  },
  updates: { dWeight: real('D?'), dBias: real('D?') },
  outputs: { dX: real('R,D') },
  reference({ dY, x, weight, mean, rstd, residual, dWeight, dBias, dims }, { dX }) {
    const D = dims['D']!;
    for (let r = 0; r < dims['R']!; r++) {
      const at = (i: number) => r * D + i;
      const normed = (i: number) => (x[at(i)]! - mean[r]!) * rstd[r]!;
      let meanGradient = 0;
      let meanProduct = 0;
      for (let i = 0; i < D; i++) {
        meanGradient += (dY[at(i)]! * weight[i]!) / D;
        meanProduct += (dY[at(i)]! * weight[i]! * normed(i)) / D;
      }
      for (let i = 0; i < D; i++) {
        const inner = dY[at(i)]! * weight[i]! - meanGradient - normed(i) * meanProduct;
        dX[at(i)] = rstd[r]! * inner + (residual?.[at(i)] ?? 0);
        if (dWeight) dWeight[i]! += dY[at(i)]! * normed(i);
        if (dBias) dBias[i]! += dY[at(i)]!;
      }
    }
  },
  work: ({ R, D }) => ({ bytes: 12 * R! * D!, flops: 16 * R! * D! }),
});
