import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { camelCase, filesBelow, root, textOf } from './files.ts';

const ops = readdirSync(join(root, 'csrc/ops'), { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => name);

/** Joins others for one device, from C++ alone: no signature says how it is called from elsewhere. */
const isJoined = (op: string) => !/kSignature =\s*"(?!")/.test(textOf(`csrc/ops/${op}/op.h`));

describe.each(ops)('op %s', (op) => {
  const name = camelCase(op);
  const anywhere = [
    `csrc/ops/${op}/cpu.cpp`,
    `lib/kernels/${name}.ts`,
    `tests/kernels/${name}.test.ts`,
    `bench/kernels/${name}.bench.ts`,
  ];
  it.each([`csrc/ops/${op}/op.h`, ...(isJoined(op) ? [`csrc/ops/${op}/cuda.cu`, `tests/cuda/${op}.cu`] : anywhere)])(
    'has %s',
    (file) => expect(existsSync(join(root, file)), file).toBe(true),
  );
});

it('an arithmetic file says which instruction sets it is compiled for in its first line, or is compiled once', () => {
  const misplaced = filesBelow('csrc', '.cpp').filter((file) => {
    const lines = textOf(file).split('\n');
    return lines.slice(1).some((line) => /^\/\/ hot\b/.test(line)); // CMakeLists.txt reads the first line alone
  });
  expect(misplaced).toEqual([]);
});
