import { isBuiltin } from 'node:module';
import { dirname, join, relative, resolve } from 'node:path';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';
import { badImport, badInclude } from './arrows.ts';
import { filesBelow, root, textOf } from './files.ts';

const sources = filesBelow('lib', '.ts');
const native = filesBelow('csrc', '.h', '.cpp', '.cu', '.cuh');

/** What a file imports, statically, dynamically, as a type, or by `new URL(…, import.meta.url)`. */
function importsOf(path: string): string[] {
  const text = textOf(path);
  const urls = [...text.matchAll(/new URL\(\s*['"](\.[^'"]+)['"]\s*,\s*import\.meta\.url/g)].map((match) => match[1]!);
  return [...ts.preProcessFile(text, true, true).importedFiles.map(({ fileName }) => fileName), ...urls];
}

const within = (from: string, name: string): string => relative(root, resolve(root, dirname(from), name));

describe('lib', () => {
  it('has no import that turns back', () => {
    const bad = sources.flatMap((file) =>
      importsOf(file)
        .filter((name) => name.startsWith('.'))
        .map((name) => within(file, name))
        .filter((to) => to.startsWith('lib/'))
        .flatMap((to) => badImport(file, to)?.concat(`: ${file} → ${to}`) ?? []),
    );
    expect(bad).toEqual([]);
  });

  it('imports packages that are dependencies, and Node by its name', () => {
    const { dependencies } = JSON.parse(textOf('package.json')) as { dependencies: Record<string, string> };
    const packageOf = (name: string) => name.split('/', name.startsWith('@') ? 2 : 1).join('/');
    const bad = sources.flatMap((file) =>
      importsOf(file)
        .filter((name) => !name.startsWith('.'))
        .filter((name) => (isBuiltin(name) ? !name.startsWith('node:') : !(packageOf(name) in dependencies)))
        .map((name) => `${file} → ${name}`),
    );
    expect(bad).toEqual([]);
  });

  it('reads the environment in one file', () => {
    const readers = sources.filter((file) =>
      /\bprocess\s*\.\s*env\b|\bimport\b.*\benv\b.*node:process/.test(textOf(file)),
    );
    expect(readers).toEqual(['lib/runtime/env.ts']);
  });
});

describe('csrc', () => {
  it('has no include that turns back', () => {
    const bad = native.flatMap((file) =>
      [...textOf(file).matchAll(/^\s*#\s*include\s+"([^"]+)"/gm)]
        .map((match) => within(file, match[1]!))
        .flatMap((to) => badInclude(file, to)?.concat(`: ${file} → ${to}`) ?? []),
    );
    expect(bad).toEqual([]);
  });

  it('includes files that are there', () => {
    const bad = native.flatMap((file) =>
      [...textOf(file).matchAll(/^\s*#\s*include\s+"([^"]+)"/gm)]
        .map((match) => within(file, match[1]!))
        .filter((to) => !native.includes(to))
        .map((to) => `${file} → ${to}`),
    );
    expect(bad).toEqual([]);
  });

  it('speaks to Node in csrc/binding alone', () => {
    const speakers = native.filter((file) => /\bNapi::|\bnapi_\w|#\s*include\s+<(napi|node_api)/.test(textOf(file)));
    expect(speakers.filter((file) => !file.startsWith('csrc/binding/'))).toEqual([]);
    expect(speakers).not.toEqual([]);
  });

  it('asks for no device in the preprocessor: a file belongs to one backend', () => {
    const asking = native.filter((file) => /^\s*#\s*(el)?if.*(CUDA|NEURON|PJRT)/im.test(textOf(file)));
    expect(asking.filter((file) => !file.startsWith('csrc/backends/'))).toEqual([]);
  });
});

describe('the rules', () => {
  const lib = (room: string) => `lib/${room}/some.ts`;
  const allowed = [
    ['cli', 'train'],
    ['train', 'eval'],
    ['train', 'rollout'],
    ['rollout', 'rewards'],
    ['model', 'kernels'],
    ['algorithms', 'kernels'],
    ['kernels', 'runtime'],
  ] as const;
  const refused = [
    ['runtime', 'kernels'],
    ['algorithms', 'model'],
    ['algorithms', 'data'],
    ['algorithms', 'rewards'],
    ['rewards', 'data'],
    ['report', 'runtime'],
    ['model', 'data'],
    ['data', 'rollout'],
    ['train', 'cli'],
    ['attic', 'runtime'],
  ] as const;
  it.each(allowed)('%s → %s', (from, to) => expect(badImport(lib(from), lib(to))).toBeUndefined());
  it.each(refused)('not %s → %s', (from, to) => expect(badImport(lib(from), lib(to))).toBeTypeOf('string'));

  it('types and errors are open to every room, and themselves import nothing', () => {
    expect(badImport('lib/report/table.ts', 'lib/types.ts')).toBeUndefined();
    expect(badImport('lib/rewards/math.ts', 'lib/runtime/errors.ts')).toBeUndefined();
    expect(badImport('lib/types.ts', 'lib/runtime/tensor.ts')).toBeTypeOf('string');
    expect(badImport('lib/train/train.ts', 'lib/index.ts')).toBeTypeOf('string');
  });

  it.each([
    ['binding/policy.cpp', 'model/qwen3vl/policy.h'],
    ['binding/host.cpp', 'host/resize.h'],
    ['ops/head/cpu.cpp', 'ops/policy_loss/token_loss.h'],
    ['host/resize.cpp', 'core/status.h'],
  ])('csrc: %s → %s', (from, to) => expect(badInclude(join('csrc', from), join('csrc', to))).toBeUndefined());
  it.each([
    ['core/arena.h', 'backends/cpu/device.h'],
    ['ops/head/cpu.cpp', 'ops/policy_loss/cpu.cpp'],
    ['ops/head/cpu.cpp', 'model/qwen3vl/text.h'],
    ['host/resize.cpp', 'backends/cpu/simd.h'],
    ['model/qwen3vl/text.cpp', 'host/resize.h'],
    ['backends/cuda/device.cpp', 'backends/cpu/device.h'],
  ])('csrc: not %s → %s', (from, to) => expect(badInclude(join('csrc', from), join('csrc', to))).toBeTypeOf('string'));
});
