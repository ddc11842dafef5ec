import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { root } from '../structure/files.ts';

const logs = {
  stages: 'build 45 0\nkernels 20 1\npolicy 105 0\ngolden 12 0\ntrain 48 0\n',
  'machine.log': 'NVIDIA H200, 580.159.04, 143771 MiB, 9.0\nCuda compilation tools, release 13.0, V13.0.88\n',
  'build.log': 'built\n',
  'kernels.log': [
    'device NVIDIA H200, compute capability 9.0; a copy reads and writes 4.21 TB/s',
    'ok    rms_norm f32 4096 x 2048                                         8388608 elements, at most 0.12 of the tolerance 1e-05 off',
    'FAIL  swiglu f32: element 3',
    'time  rms_norm f32 4096 x 2048                                             20.10 us    3.340 TB/s   79 % of a copy',
    'time  attention bf16 8 x 2048                                             310.50 us    0.500 TB/s   12 % of a copy    325.0 TFLOP/s',
  ].join('\n'),
  'policy.log':
    ' \u001b[32m✓\u001b[39m a test\n FAIL  tests/x.test.ts > y\n\u001b[2m      Tests \u001b[22m 3 failed | 1949 passed | 70 skipped (2022)\n',
  'golden.log': 'images.json: 10 pass\nf32: 826 pass, 0 fail\n',
  'train.log': 'step 560/560\nall tasks  1200  71.3  83.0\n',
};

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'g2rpo-gpu-results-'));
  for (const [name, text] of Object.entries(logs)) writeFileSync(join(dir, name), text);
});
afterAll(() => rmSync(dir, { recursive: true }));

const run = (...args: string[]) =>
  spawnSync(process.execPath, [join(root, 'scripts', 'gpu-results.mjs'), ...args], { encoding: 'utf8' });

it('what stages of a GPU run printed becomes a table and JSON', () => {
  const file = join(dir, 'results.json');
  const { stdout, stderr, status } = run(dir, file);
  expect(stderr).toBe('');
  expect(status).toBe(0);
  expect(stdout.split('\n').slice(0, 5)).toEqual([
    'build    45 s   passed',
    'kernels  20 s   failed  1 passed, 1 failed, 0 left out',
    'policy   105 s  passed  1949 passed, 3 failed, 70 left out',
    'golden   12 s   passed  826 passed, 0 failed, 0 left out',
    'train    48 s   passed',
  ]);
  const { machine, stages } = JSON.parse(readFileSync(file, 'utf8'));
  expect(machine[0]).toContain('H200');
  expect(stages[1].times).toEqual([
    { name: 'rms_norm f32 4096 x 2048', microseconds: 20.1, terabytesPerSecond: 3.34, percentOfCopy: 79 },
    { name: 'attention bf16 8 x 2048', microseconds: 310.5, terabytesPerSecond: 0.5, percentOfCopy: 12, teraflopsPerSecond: 325 }, // prettier-ignore
  ]);
  expect(stages[1].lines).toEqual(['FAIL  swiglu f32: element 3']);
  expect(stages[4].lines.at(-1)).toBe('all tasks  1200  71.3  83.0');
});

it('no folder is a usage error', () => {
  const { stderr, status } = run();
  expect(status).toBe(2);
  expect(stderr).toContain('usage');
});
