import { expect } from 'vitest';
import type { Policy } from '../../lib/model/qwen3vl/policy.ts';

/** Holds the gradients that a policy in f64 has against differences of what they are the gradients of. */
export async function expectFiniteDifferences({ trained }: Policy, objective: () => Promise<number>): Promise<void> {
  for (const [k, { name, weight, gradient }] of trained.entries()) {
    const g = await gradient!.read();
    // along a random direction of the whole tensor: every element takes part
    const direction = Float64Array.from(g, (_, i) => Math.sin(12.9898 * (i + 1) + k));
    const size = Math.sqrt(direction.reduce((s, v) => s + v * v, 0));
    const analytic = Array.from(g).reduce((s, v, i) => s + (v * direction[i]!) / size, 0);
    const h = 1e-4;
    const at = (await weight.read()) as Float64Array<ArrayBuffer>;
    const moved = (by: number) => {
      weight.write(at.map((w, i) => w + (by * direction[i]!) / size));
      return objective();
    };
    const plus = await moved(h);
    const minus = await moved(-h);
    weight.write(at);
    const numeric = (plus - minus) / (2 * h);
    // truncation is of order h² times the third derivative; rounding 1e-16 / h
    expect(Math.abs(analytic - numeric), `${name}: ${analytic} against ${numeric}`).toBeLessThan(
      2e-6 * Math.max(1, Math.abs(numeric)),
    );
  }
}
