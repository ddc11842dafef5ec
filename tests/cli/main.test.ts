import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, mkdtempSync, openSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { root } from '../structure/files.ts';

let dir: string;
beforeAll(() => void (dir = mkdtempSync(join(tmpdir(), 'g2rpo-main-'))));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** The process itself, with its sources compiled on the way. */
function g2rpo(...args: string[]): ChildProcess {
  const jiti = join(root, 'node_modules/jiti/lib/jiti-cli.mjs');
  return spawn(process.execPath, [jiti, join(root, 'lib/cli/main.ts'), ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
}

async function output(child: ChildProcess): Promise<{ code: number; stdout: string; stderr: string }> {
  const text = { stdout: '', stderr: '' };
  child.stdout!.on('data', (data: Buffer) => (text.stdout += data.toString()));
  child.stderr!.on('data', (data: Buffer) => (text.stderr += data.toString()));
  const [code] = (await once(child, 'close')) as [number];
  return { code, ...text };
}

it('ends with the code of the command, and nothing that was written is lost', async () => {
  expect(await output(g2rpo('--version'))).toMatchObject({ code: 0, stderr: '' });
  const wrong = await output(g2rpo('kernel'));
  expect(wrong).toMatchObject({ code: 2, stdout: '' });
  expect(wrong.stderr).toContain('did you mean kernels?');
});

it.each(['SIGINT', 'SIGTERM'] as const)('stops in order on %s, with code 130', async (signal) => {
  const out = join(dir, 'gallery');
  const child = g2rpo('data', 'gallery', '--out', out, '--train', '1000000');
  const ended = output(child);
  await once(child.stderr!, 'data'); // the first line of progress
  child.kill(signal);
  const { code, stderr } = await ended;
  expect(code).toBe(130);
  expect(stderr).toMatch(/stopping; once more to stop at once[^]*ABORTED/);
  expect(existsSync(out)).toBe(false);
  expect(readdirSync(dir)).toEqual([]);
});

it('a reader that has seen enough is no failure', async () => {
  const child = g2rpo('kernels');
  child.stdout!.destroy();
  const [code] = (await once(child, 'exit')) as [number];
  expect(code).toBe(0);
});

it('ends with 1 where what it prints cannot be written', async ({ skip }) => {
  if (!existsSync('/dev/full')) skip('there is no /dev/full');
  const full = openSync('/dev/full', 'w');
  const jiti = join(root, 'node_modules/jiti/lib/jiti-cli.mjs');
  const child = spawn(process.execPath, [jiti, join(root, 'lib/cli/main.ts'), 'presets'], { stdio: ['ignore', full, 'pipe'] }); // prettier-ignore
  let stderr = '';
  child.stderr!.on('data', (data: Buffer) => (stderr += data.toString()));
  const [code] = (await once(child, 'close')) as [number];
  closeSync(full);
  expect({ code, stderr }).toMatchObject({ code: 1, stderr: expect.stringContaining('g2rpo: IO  what was printed could not be written: ENOSPC') }); // prettier-ignore
});
