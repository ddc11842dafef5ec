import { expect, it } from 'vitest';
import { native } from '../../lib/runtime/native.ts';
import { runKernel, type Case, type Variant } from './testKernel.ts';

/** A kernel gives the same bits on 1, 2 and 3 threads; the case should be larger than one work item. */
export function sameForAnyThreads(
  kernel: Parameters<typeof runKernel>[0],
  given: Case,
  variant: Variant = 'f32',
): void {
  it(`${kernel.declaration.name} gives the same bits on any number of threads`, async () => {
    const before = native().threads();
    const results = [];
    try {
      for (const threads of [1, 2, 3]) {
        native().setThreads(threads);
        results.push(await runKernel(kernel, given, variant));
      }
    } finally {
      native().setThreads(before);
    }
    const bytes = results.map((outputs) => Object.values(outputs).map((a) => Buffer.from(a.buffer)));
    for (const [k, one] of bytes[0]!.entries()) {
      expect(one.length).toBeGreaterThan(0);
      expect(bytes[1]![k]!.equals(one)).toBe(true);
      expect(bytes[2]![k]!.equals(one)).toBe(true);
    }
  });
}
