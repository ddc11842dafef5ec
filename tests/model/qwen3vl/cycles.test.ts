import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { packageRoot } from '../../../lib/runtime/native.ts';
import { wantCpu } from '../../support/onCpu.ts';
import { writeGoldenCheckpoint } from '../../support/syntheticCheckpoint.ts';

it('a thousand policies that sampled or trained leave no memory behind', { timeout: 240_000 }, async ({ skip }) => {
  wantCpu(skip, 'the memory of a process says nothing of that of its device');
  const script = join(packageRoot, 'tests', 'support', 'cycles.ts');
  const args = ['--expose-gc', '--import', 'jiti/register', script, await writeGoldenCheckpoint('nano'), '1000'];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'], cwd: packageRoot });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data: Buffer) => (text += data.toString()));
  expect(await once(child, 'close'), text).toEqual([0, null]);
  const held = JSON.parse(text) as { rss: number; bytes: number }[];
  for (const { bytes } of held) expect(bytes).toBe(0);
  const least = (part: typeof held) => Math.min(...part.map(({ rss }) => rss));
  // 500 cycles lie between them: 20 kB of each would be as much, and a policy has 400
  expect(least(held.slice(7)) - least(held.slice(2, 5)), text).toBeLessThan(10e6);
});
