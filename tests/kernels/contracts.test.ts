import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import * as names from '../../lib/index.ts';
import { checkAllContracts, declaredKernels, type Kernel } from '../../lib/kernels/defineKernel.ts';
import { native } from '../../lib/runtime/native.ts';
import { filesBelow, root } from '../structure/files.ts';

const modules = await Promise.all(
  filesBelow('lib/kernels', '.ts').map(async (file) => ({
    file,
    exports: (await import(/* @vite-ignore */ join(root, file))) as Record<string, unknown>,
  })),
);
const isKernel = (value: unknown): value is Kernel => typeof value === 'function' && 'declaration' in value;

describe('the addon and the declarations', () => {
  it('say the same signatures', () => {
    expect(declaredKernels().size).toBeGreaterThan(0);
    expect(() => checkAllContracts()).not.toThrow();
  });

  it('know the same kernels', () => {
    const built = new Set(
      native()
        .kernels()
        .map(({ name }) => name),
    );
    expect([...built].sort()).toEqual([...declaredKernels().keys()].sort());
  });

  it('have a kernel for every instruction set in every variant, or for none but the generic one; products in bf16 have two more', () => {
    const sets = new Map<string, Set<string>>();
    for (const { name, variant, isa } of native().kernels()) {
      const key = `${name} ${variant}`;
      sets.set(key, (sets.get(key) ?? new Set()).add(isa));
    }
    for (const [kernel, isas] of sets) {
      const pairs = [...isas].filter((isa) => isa.startsWith('avx512bf16'));
      expect(pairs, kernel).toHaveLength(kernel === 'gemm bf16' && isas.has('avx512') ? 2 : 0);
      expect([1, 3], `${kernel}: ${[...isas].join()}`).toContain(isas.size - pairs.length);
    }
    for (const [kernel, isas] of sets) expect(isas.has('generic'), kernel).toBe(true);
  });
});

it('every kernel is a public name, spelled as in C++ but in camel case', () => {
  const exported = modules.flatMap(({ exports }) => Object.entries(exports).filter(([, value]) => isKernel(value)));
  expect(exported).toHaveLength(declaredKernels().size);
  for (const [name, kernel] of exported as [string, Kernel][]) {
    // `policyLoss` is a function over it, which is what most want
    expect(names, name).toHaveProperty(name === 'policyLoss' ? 'policyLossKernel' : name, kernel);
    expect(name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)).toBe(kernel.declaration.name);
  }
});
