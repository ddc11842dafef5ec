import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { root } from './files.ts';

const copy = mkdtempSync(join(tmpdir(), 'g2rpo-new-kernel-'));
const written = [
  'lib/kernels/rootMeanSquare.ts',
  'csrc/ops/root_mean_square/op.h',
  'csrc/ops/root_mean_square/cpu.cpp',
  'tests/kernels/rootMeanSquare.test.ts',
  'bench/kernels/rootMeanSquare.bench.ts',
];

const node = (...args: string[]) => spawnSync(process.execPath, args, { cwd: copy, encoding: 'utf8' });
const newKernel = (...args: string[]) => node('scripts/new-kernel.mjs', ...args);

beforeAll(() => {
  for (const part of ['scripts', 'lib', 'csrc', 'bench/support', 'tests/support', 'package.json', 'tsconfig.json'])
    cpSync(join(root, part), join(copy, part), { recursive: true });
  for (const part of ['.prettierrc.json', 'eslint.config.js']) cpSync(join(root, part), join(copy, part));
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));
});
afterAll(() => rmSync(copy, { recursive: true, force: true }));

it.each([[[]], [['two', 'names']], [['1st']], [['a-b']], [['__x']]])('refuses %j', (args) => {
  const { status, stderr } = newKernel(...args);
  expect(status).toBe(2);
  expect(stderr).toMatch(/^g2rpo: .* got|wants one name/);
});

it('writes the files of an op, under either spelling, once', () => {
  expect(newKernel('rootMeanSquare')).toMatchObject({ status: 0, stderr: '' });
  for (const file of written) expect(existsSync(join(copy, file)), file).toBe(true);
  const again = newKernel('root_mean_square');
  expect(again.status).toBe(2);
  expect(again.stderr).toContain('there already');
});

it('keeps lib/index.ts in order', () => {
  const index = readFileSync(join(copy, 'lib/index.ts'), 'utf8');
  const kernels = [...index.matchAll(/^export \{ .* from '\.\/kernels\/(\w+)\.ts';$/gm)].map((match) => match[1]!);
  expect(kernels).toContain('rootMeanSquare');
  expect(kernels).toEqual([...kernels].sort());
});

it('writes what the compilers accept', () => {
  const flags = [
    '-std=c++20',
    '-fsyntax-only',
    '-Wall',
    '-Wextra',
    '-Werror',
    '-Wno-unused-function',
    '-DG2_ISA=generic',
  ];
  const compiler = spawnSync('c++', [...flags, written[2]!], {
    cwd: copy,
    encoding: 'utf8',
  });
  expect(compiler.error ?? compiler.stderr).toBe('');
  mkdirSync(join(copy, 'one'));
  const project = { extends: '../tsconfig.json', include: [`../${written[0]}`, `../${written[3]}`] };
  writeFileSync(join(copy, 'one/tsconfig.json'), JSON.stringify(project));
  const tsc = node('node_modules/typescript/bin/tsc', '-p', 'one');
  expect(tsc.stdout).toBe('');
});

it('writes what the formatter leaves alone', () => {
  const { stdout, stderr } = node(
    'node_modules/prettier/bin/prettier.cjs',
    '--check',
    ...written.filter((f) => f.endsWith('.ts')),
  );
  expect(stderr).toBe('');
  expect(stdout).toContain('use Prettier code style');
});
