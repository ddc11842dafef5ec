// A process that ends threads while they sample, at several moments.
import { fileURLToPath } from 'node:url';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { Policy } from '../../lib/model/qwen3vl/policy.ts';
import { shippedPrompts } from './askedPrompts.ts';

if (isMainThread) {
  for (let i = 0; i < 6; i++) {
    const worker = new Worker(fileURLToPath(import.meta.url), { workerData: process.argv[2] });
    await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
    await new Promise((resolve) => setTimeout(resolve, 7 * i));
    await worker.terminate();
  }
  console.log('all ended');
} else {
  const policy = await Policy.load(workerData as string, { trained: false });
  const { long, shown } = await shippedPrompts(policy);
  for (const prompt of [long, shown])
    policy.submit({ prompt, n: 20, maxTokens: 100_000, stopIds: [] }).catch(() => undefined);
  parentPort!.postMessage('sampling');
}
