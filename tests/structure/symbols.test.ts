import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { root } from './files.ts';

/**
 * Symbols that the linker may merge with those of other object files: weak functions (W), weak objects (V), unique ones (u).
 * Were one defined in code for avx512, the linker could choose it for everybody, and old processors would crash. DW.ref is a
 * pointer to the unwinder's routine, the same everywhere and no code.
 */
const sharedSymbols = (listing: string): string[] =>
  listing.split('\n').filter((line) => /^[0-9a-f]*\s*[WVu] (?!DW\.ref\.)/.test(line));

describe.each(['avx2', 'avx512', 'avx512bf16', 'avx512bf16_emulated'])('objects for %s', (isa) => {
  it('share no symbol with others', (context) => {
    const folder = join(root, 'build', 'CMakeFiles', `hot_${isa}.dir`);
    const objects = existsSync(folder)
      ? readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.o'))
      : [];
    if (objects.length === 0) context.skip(`no objects in ${folder}`);
    const nm = spawnSync('nm', ['-C', ...objects.map((name) => join(folder, name))], {
      encoding: 'utf8',
      maxBuffer: 2 ** 28,
    });
    if (nm.error) context.skip(`nm: ${nm.error.message}`);
    expect(nm.status, nm.stderr).toBe(0);
    expect(nm.stdout).toContain(' t ');
    expect(sharedSymbols(nm.stdout)).toEqual([]);
  });
});

it('a shared symbol is recognised', () => {
  const listing = [
    '0000000000000000 W g2rpo::Vec<float>::load(float const*)',
    '0000000000000000 V vtable for g2rpo::Error',
    '0000000000000010 u g2rpo::table',
    '                 w __cxa_finalize',
    '                 U memcpy',
    '0000000000000020 t g2rpo::avx512::kernel',
    '0000000000000020 T g2rpo::normal_quantile(double)',
  ].join('\n');
  expect(sharedSymbols(listing)).toHaveLength(3);
});
