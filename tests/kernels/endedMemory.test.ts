import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { root } from '../structure/files.ts';

/** Is ended while one job runs and others, which hold 16 MB each, wait behind it; 24 MB lie in small tensors. */
const WORKER = `
const { parentPort, workerData } = require('node:worker_threads');
const addon = require(workerData);
addon.setThreads(1);
const zeros = new Float32Array(2 ** 22);
const x = addon.upload('f32', zeros);
const norm = addon.allocate('f64', 1, true);
const small = Array.from({ length: 100 }, () => addon.upload('f32', zeros.subarray(0, 60_000)));
const dims = Float64Array.of(2 ** 22, -1, -1, -1, -1, -1, -1, -1);
addon.time('squared_norm', 'f32', [[x], norm], dims, Uint8Array.of(0, 1), 10).catch(() => undefined);
for (let i = 0; i < 3; i++) addon.read(addon.upload('f32', zeros)).catch(() => undefined);
parentPort.postMessage(small.length);
setInterval(() => undefined, 1000);`;

/** Prints the megabytes that the process holds after every second thread. */
const PROGRAM = `
const { Worker } = require('node:worker_threads');
(async () => {
  const held = [];
  for (let i = 1; i <= 12; i++) {
    const worker = new Worker(${JSON.stringify(WORKER)}, { eval: true, workerData: process.argv[1] });
    await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
    await worker.terminate();
    if (i % 2 === 0) held.push(Math.round(process.memoryUsage.rss() / 2 ** 20));
  }
  console.log(JSON.stringify(held));
})();`;

it('a thread that is ended with work under way leaves no memory behind', { timeout: 120_000 }, async () => {
  const addon = join(root, 'build/Release/g2rpo.node');
  const child = spawn(process.execPath, ['-e', PROGRAM, addon], { stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data: Buffer) => (text += data.toString()));
  expect(await once(child, 'close'), text).toEqual([0, null]);
  const held = JSON.parse(text) as number[];
  const [first, last] = [Math.min(...held.slice(0, 3)), Math.min(...held.slice(3))];
  // 6 threads lie between them: had each left behind what waited, 288 MB
  expect(last - first, text).toBeLessThan(100);
});
