// A process that ends threads while they sample, or train, at several moments.
import { fileURLToPath } from 'node:url';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { Policy } from '../../lib/model/qwen3vl/policy.ts';
import { likelihood } from '../../lib/train/likelihood.ts';
import { shippedPrompts } from './askedPrompts.ts';
import { manyRows } from './manyRows.ts';

type Work = [dir: string, what: 'sample' | 'train'];

if (isMainThread) {
  for (let i = 0; i < 6; i++) {
    const worker = new Worker(fileURLToPath(import.meta.url), { workerData: process.argv.slice(2) });
    await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
    await new Promise((resolve) => setTimeout(resolve, 7 * i));
    await worker.terminate();
  }
  console.log('all ended');
} else {
  const [dir, what] = workerData as Work;
  const policy = await Policy.load(dir, { trained: what === 'train' ? {} : false });
  if (what === 'sample') {
    const { long, shown } = await shippedPrompts(policy);
    for (const prompt of [long, shown])
      policy.submit({ prompt, n: 20, maxTokens: 100_000, stopIds: [] }).catch(() => undefined);
  } else {
    const batch = manyRows(400);
    for (let i = 0; i < 20; i++)
      policy.forwardBackward(batch, likelihood(batch.targetIds.length)).catch(() => undefined);
  }
  parentPort!.postMessage('under way');
}
