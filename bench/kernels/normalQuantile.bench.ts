import { normalQuantile } from '../../lib/kernels/normalQuantile.ts';
import { benchKernel, type Peer } from '../support/benchKernel.ts';

// Acklam's rational approximation: what one finds in JavaScript, six digits less exact than the kernel.
const A = [
  -39.69683028665376, 220.9460984245205, -275.9285104469687, 138.357751867269, -30.66479806614716, 2.506628277459239,
];
const B = [-54.47609879822406, 161.5858368580409, -155.6989798598866, 66.80131188771972, -13.28068155288572];
const C = [
  -0.007784894002430293, -0.3223964580411365, -2.400758277161838, -2.549732539343734, 4.374664141464968,
  2.938163982698783,
];
const D = [0.007784695709041462, 0.3224671290700398, 2.445134137142996, 3.754408661907416];
const [a0, a1, a2, a3, a4, a5] = A as [number, number, number, number, number, number];
const [b0, b1, b2, b3, b4] = B as [number, number, number, number, number];
const [c0, c1, c2, c3, c4, c5] = C as [number, number, number, number, number, number];
const [d0, d1, d2, d3] = D as [number, number, number, number];

function acklam(p: number): number {
  if (p < 0.02425 || p > 1 - 0.02425) {
    const q = Math.sqrt(-2 * Math.log(p < 0.5 ? p : 1 - p));
    const x = (((((c0 * q + c1) * q + c2) * q + c3) * q + c4) * q + c5) / ((((d0 * q + d1) * q + d2) * q + d3) * q + 1);
    return p < 0.5 ? x : -x;
  }
  const q = p - 0.5;
  const r = q * q;
  return (
    ((((((a0 * r + a1) * r + a2) * r + a3) * r + a4) * r + a5) * q) /
    (((((b0 * r + b1) * r + b2) * r + b3) * r + b4) * r + 1)
  );
}

const typescript: Peer = {
  name: 'TypeScript (Acklam, 1e-9)',
  prepare({ p }) {
    const x = p as Float64Array;
    const out = new Float64Array(x.length);
    return () => {
      for (let i = 0; i < x.length; i++) out[i] = acklam(x[i]!);
    };
  },
};

export default () =>
  benchKernel(normalQuantile, {
    sizes: [{ N: 4096 }, { N: 1_000_000 }],
    generate: ({ N }) => ({ p: Float64Array.from({ length: N! }, (_, i) => (((i * 7919) % N!) + 0.5) / N!) }),
    peers: [typescript],
  });
