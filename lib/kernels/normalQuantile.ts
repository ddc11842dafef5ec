import { defineKernel, f64 } from './defineKernel.ts';

/**
 * The point below which a standard normal variable lies with probability p: Φ⁻¹(p).
 *
 * Relative error below 1e-15. 0 gives −∞, 1 gives +∞, anything outside [0, 1] NaN.
 *
 * @source M. J. Wichura, AS 241: The percentage points of the normal distribution, Applied Statistics 37 (1988)
 */
export const normalQuantile = defineKernel({
  name: 'normal_quantile',
  inputs: { p: f64('N') },
  outputs: { quantiles: f64('N') },
  reference({ p }, { quantiles }) {
    p.forEach((x, i) => (quantiles[i] = normalQuantileReference(x)));
  },
  work: ({ N }) => ({ bytes: 16 * N!, flops: 40 * N! }),
});

/**
 * Φ⁻¹ by Newton's method on Φ, which is summed as a series near 0 and as a continued fraction in the tails: slow, and nothing
 * in common with the rational approximations of the kernel.
 */
export function normalQuantileReference(p: number): number {
  if (!(p >= 0 && p <= 1)) return Number.NaN;
  if (p === 0 || p === 1) return p === 0 ? -Infinity : Infinity;
  if (p > 0.5) return 0.5 - p + 0.5 === 0 ? Infinity : -normalQuantileReference(1 - p);
  const q = 0.5 - p; // exact
  let x = q < 0.45 ? q * Math.sqrt(2 * Math.PI) : Math.sqrt(-2 * Math.log(p));
  for (let i = 0; i < 200; i++) {
    const density = Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI);
    // in the tail the equation is solved for log p, which is nearly quadratic, else for the mass between 0 and x
    const tail = x > 2.5 ? tailMass(x) : undefined;
    const step = tail === undefined ? (centralMass(x) - q) / density : (Math.log(p / tail) * tail) / density;
    x -= step;
    if (Math.abs(step) <= 1e-17 * Math.abs(x)) break;
  }
  return -x;
}

/** Φ(x), from the same two sums. */
export function normalCdfReference(x: number): number {
  if (Math.abs(x) <= 2.5) return 0.5 + Math.sign(x) * centralMass(Math.abs(x));
  return x < 0 ? tailMass(-x) : 1 - tailMass(x);
}

/** Φ(x) − ½ = φ(x) · Σ x^(2k+1) / (1·3·5…(2k+1)); all terms are positive. */
function centralMass(x: number): number {
  let term = x;
  let sum = x;
  for (let k = 1; term > sum * 1e-18; k++) sum += term *= (x * x) / (2 * k + 1);
  return (sum * Math.exp((-x * x) / 2)) / Math.sqrt(2 * Math.PI);
}

/** 1 − Φ(x) = φ(x) / (x + 1/(x + 2/(x + 3/(x + …)))), from the inside out. */
function tailMass(x: number): number {
  let f = x;
  for (let k = 400; k >= 1; k--) f = x + k / f;
  return Math.exp((-x * x) / 2) / (Math.sqrt(2 * Math.PI) * f);
}
