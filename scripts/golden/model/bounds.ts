import type { Bounds } from '../compare.ts';

/** Tolerances of fp32, as the README of the golden data of the model states them. */
export interface ModelBounds {
  /** logits, lse, entropies, log-probabilities, samples of the vision tower */
  value: Bounds;
  /** a gap of two logits, each of which may be off */
  gap: Bounds;
  /** norms */
  norm: Bounds;
  /** of a loss */
  loss(wanted: number): Bounds;
  /** norm or element of a gradient, given the norm of the whole */
  gradient(globalNorm: number): Bounds;
}

export function boundsFor(hidden: number): ModelBounds {
  const atol = hidden >= 512 ? 5e-4 : 1e-4;
  return {
    value: { rtol: 0, atol },
    gap: { rtol: 0, atol: 2 * atol },
    norm: { rtol: 1e-4, atol: 0 },
    loss: (wanted) => ({ rtol: 0, atol: 1e-4 * Math.max(1, Math.abs(wanted)) }),
    gradient: (globalNorm) => ({ rtol: 1e-3, atol: 1e-6 * globalNorm }),
  };
}

/** Arithmetic on numbers of the files, which have nine digits. */
export const DIGITS: Bounds = { rtol: 1e-8, atol: 1e-8 };
