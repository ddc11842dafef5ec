import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { root } from '../structure/files.ts';

/** Never stops calling the addon. */
const WORKER = `
const { parentPort, workerData } = require('node:worker_threads');
const addon = require(workerData);
parentPort.postMessage('started');
for (;;) {
  const t = addon.upload('f32', Float32Array.of(1, 2));
  addon.read(t).catch(() => undefined);
  addon.release(t);
}`;

/** Ends such threads, some on their way into the addon, some on their way out. */
const PROGRAM = `
const { Worker } = require('node:worker_threads');
(async () => {
  for (let i = 0; i < 30; i++) {
    const worker = new Worker(${JSON.stringify(WORKER)}, { eval: true, workerData: process.argv[1] });
    await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
    await new Promise((resolve) => setTimeout(resolve, i % 5));
    await worker.terminate();
  }
  console.log('all ended');
})();`;

it('a thread that is ended while it calls the addon takes nobody with it', { timeout: 60_000 }, async () => {
  const addon = join(root, 'build/Release/g2rpo.node');
  const child = spawn(process.execPath, ['-e', PROGRAM, addon], { stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data: Buffer) => (text += data.toString()));
  const ended = await once(child, 'close');
  expect(text).toBe('all ended\n');
  expect(ended).toEqual([0, null]);
});
