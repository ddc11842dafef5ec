import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { root } from '../structure/files.ts';

let folder: string;
beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'g2rpo-lock-'))));
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** A program that adds 1 to a number in a file, slowly, under the lock. */
const slowIncrement = () => `
  import { readFileSync, writeFileSync } from 'node:fs';
  import { lock } from ${JSON.stringify(pathToFileURL(join(root, 'scripts/lock.mjs')).href)};
  const unlock = lock(${JSON.stringify(join(folder, 'lock'))});
  const count = Number(readFileSync(${JSON.stringify(join(folder, 'count'))}, 'utf8'));
  await new Promise((resolve) => setTimeout(resolve, 30));
  writeFileSync(${JSON.stringify(join(folder, 'count'))}, String(count + 1));
  if (process.argv[2] !== 'exit') unlock();`;

async function increments(n: number): Promise<string> {
  writeFileSync(join(folder, 'count'), '0');
  writeFileSync(join(folder, 'increment.mjs'), slowIncrement());
  const processes = Array.from({ length: n }, (_, i) =>
    spawn(process.execPath, [join(folder, 'increment.mjs'), i % 2 === 0 ? 'exit' : 'unlock'], { stdio: 'ignore' }),
  );
  await Promise.all(processes.map((each) => once(each, 'exit')));
  return readFileSync(join(folder, 'count'), 'utf8');
}

it('lets one process in at a time, and goes away with it', async () => {
  expect(await increments(6)).toBe('6');
  expect(existsSync(join(folder, 'lock'))).toBe(false);
});

it('does not wait for a process that is gone', async () => {
  const { pid } = spawnSync(process.execPath, ['-e', '']);
  writeFileSync(join(folder, 'lock'), String(pid));
  expect(await increments(4)).toBe('4');
});

it('does not wait for a file that a killed process left empty', async () => {
  writeFileSync(join(folder, 'lock'), '');
  expect(await increments(1)).toBe('1');
});
