import { describe, expect, it } from 'vitest';
import { normalQuantile, normalQuantileReference } from '../../lib/kernels/normalQuantile.ts';
import { goldenCases } from '../support/golden.ts';
import { testKernel } from '../support/testKernel.ts';

testKernel(normalQuantile, {
  cases: {
    'the centre, both tails, the ends': { p: [0, 1e-300, 1e-20, 1e-9, 0.001, 0.075, 0.25, 0.5, 0.75, 0.925, 0.999, 1] },
    none: { p: [] },
    one: { p: [0.3] },
    outside: { p: [-0.1, 1.1, Number.NaN] },
    'both tails in one vector': {
      p: Float64Array.from({ length: 37 }, (_, i) => 10 ** -(i * 3 + 1)).map((x, i) => (i % 3 ? x : 1 - x)),
    },
    'more than a chunk': { p: Float64Array.from({ length: 5001 }, (_, i) => (i + 0.5) / 5001) },
  },
  tolerance: 1e-14, // the reference sums a series in f64; the golden cases below hold the kernel to 1e-15
});

describe('normal_quantile on the golden cases', () => {
  for (const { name, inputs, expected, tolerance } of goldenCases('algorithms/normal_quantile.json'))
    it(name, async () => {
      const n = inputs['n'] as number;
      const p = (inputs['p'] as number[]) ?? Array.from({ length: n }, (_, i) => (i + 0.5) / n);
      const want = (expected['z'] ?? expected['scores']) as number[];
      const got = await normalQuantile({ p: Float64Array.from(p) }).quantiles.read();
      expect(got.length).toBe(want.length);
      want.forEach((w, i) => {
        // given p as a double, 1e-15 is asked for; rank scores are of an exact (i + ½) / n, which a double only approximates
        const bound = inputs['p'] ? 1e-15 * Math.abs(w) : tolerance.atol! + tolerance.rtol! * Math.abs(w);
        expect(Math.abs(got[i]! - w), `p = ${p[i]}`).toBeLessThanOrEqual(bound);
      });
    });
});

it('is odd about one half', async () => {
  const p = Float64Array.from({ length: 1000 }, (_, i) => (i + 1) / 2048);
  const low = await normalQuantile({ p }).quantiles.read();
  const high = await normalQuantile({ p: p.map((x) => 1 - x) }).quantiles.read();
  expect(low).toEqual(high.map((x) => -x));
  expect(normalQuantileReference(0.5)).toBe(-0);
});
