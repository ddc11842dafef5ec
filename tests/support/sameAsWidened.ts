import { expect, it } from 'vitest';
import { wantExactProducts } from './onCpu.ts';
import { roundCase, runKernel, type Case } from './testKernel.ts';

/** A kernel gives the same bits whether a weight is kept in bf16 or in f32 with the same values; one that `rounds` for only where products do not. */
export function sameAsWidened(
  kernel: Parameters<typeof runKernel>[0],
  cases: Record<string, Case>,
  { rounds = false }: { rounds?: boolean } = {},
): void {
  it(`${kernel.declaration.name} gives the same bits of weights in bf16 and of the same in f32`, async ({ skip }) => {
    if (rounds) wantExactProducts(skip);
    for (const [name, given] of Object.entries(cases)) {
      const rounded = roundCase(kernel, given, 'bf16');
      const [wide, narrow] = [await runKernel(kernel, rounded, 'f32'), await runKernel(kernel, rounded, 'bf16')];
      expect(Object.keys(narrow), name).toEqual(Object.keys(wide));
      for (const [key, values] of Object.entries(wide)) {
        expect(values.length, `${name}: ${key}`).toBeGreaterThan(0);
        expect(Buffer.from(narrow[key]!.buffer).equals(Buffer.from(values.buffer)), `${name}: ${key}`).toBe(true);
      }
    }
  });
}
