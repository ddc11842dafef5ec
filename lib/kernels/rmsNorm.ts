import { defineKernel, number, real } from './defineKernel.ts';

/**
 * Rows scaled to a root mean square of 1, times a weight per column.
 *
 *   yᵢ = wᵢ · xᵢ · rstd      rstd = 1 / √(mean x² + ε)
 *
 * The weight is plain, not 1 + w. For query and key norms a row is one head of one token.
 *
 * @throws INVALID_ARGUMENT  D is 0
 * @source arXiv:1910.07467, equation 4
 */
export const rmsNorm = defineKernel({
  name: 'rms_norm',
  inputs: { x: real('R,D'), weight: real('D') },
  scalars: { epsilon: number(1e-6) },
  outputs: { y: real('R,D'), rstd: real('R') },
  reference({ x, weight, epsilon, dims }, { y, rstd }) {
    const D = dims['D']!;
    for (let r = 0; r < dims['R']!; r++) {
      const row = x.subarray(r * D, (r + 1) * D);
      rstd[r] = 1 / Math.sqrt(row.reduce((sum, v) => sum + v * v, 0) / D + epsilon);
      row.forEach((v, i) => (y[r * D + i] = weight[i]! * v * rstd[r]!));
    }
  },
  work: ({ R, D }) => ({ bytes: 8 * R! * D!, flops: 4 * R! * D! }),
});

/**
 * The gradient of {@link rmsNorm}, added to that of the residual stream; the weight's is added to dWeight, unless it is frozen.
 *
 *   dX = residual + rstd · (dY·w − x̂ · mean(dY·w·x̂))      x̂ = x · rstd
 *   dWeight += Σ over rows of dY · x̂
 *
 * @throws INVALID_ARGUMENT  D is 0
 */
export const rmsNormBackward = defineKernel({
  name: 'rms_norm_backward',
  inputs: {
    dY: real('R,D'),
    x: real('R,D'),
    weight: real('D'),
    rstd: real('R'),
    /** gradient that reaches x past the norm */
    residual: real('R,D?'),
  },
  updates: { dWeight: real('D?') },
  outputs: { dX: real('R,D') },
  reference({ dY, x, weight, rstd, residual, dWeight, dims }, { dX }) {
    const D = dims['D']!;
    for (let r = 0; r < dims['R']!; r++) {
      const at = (i: number) => r * D + i;
      let mean = 0;
      for (let i = 0; i < D; i++) mean += (dY[at(i)]! * weight[i]! * x[at(i)]! * rstd[r]!) / D;
      for (let i = 0; i < D; i++) {
        const normed = x[at(i)]! * rstd[r]!;
        dX[at(i)] = rstd[r]! * (dY[at(i)]! * weight[i]! - normed * mean) + (residual?.[at(i)] ?? 0);
        if (dWeight) dWeight[i]! += dY[at(i)]! * normed;
      }
    }
  },
  work: ({ R, D }) => ({ bytes: 12 * R! * D!, flops: 12 * R! * D! }),
});
