// A process that loads a policy, has it sample or train and disposes of it, over and over, and prints what memory it holds after every tenth
// of the cycles.
import { setTimeout as sleep } from 'node:timers/promises';
import { Policy } from '../../lib/model/qwen3vl/policy.ts';
import { memoryUse } from '../../lib/runtime/memory.ts';
import { likelihood } from '../../lib/train/likelihood.ts';
import { manyRows } from './manyRows.ts';

const [dir, count] = process.argv.slice(2) as [string, string];
const batch = manyRows(200);

async function train(policy: Policy): Promise<void> {
  policy.zeroGradients();
  await policy.forwardBackward(batch, likelihood(batch.targetIds.length));
}

async function sample(policy: Policy): Promise<void> {
  const prompt = await policy.encode([{ type: 'text', text: 'say something' }]);
  await policy.generate([prompt], { n: 2, maxTokens: 3 });
  void policy.submit({ prompt, n: 2, maxTokens: 5000, stopIds: [] }).catch(() => undefined); // under way at the end
}

const held = [];
for (let i = 1; i <= Number(count); i++) {
  const trained = i % 2 === 0;
  const policy = await Policy.load(dir, { trained: trained ? {} : false });
  await (trained ? train : sample)(policy);
  policy.dispose();
  if (i % (Number(count) / 10) > 0) continue;
  await sleep(20);
  gc!();
  held.push({ rss: process.memoryUsage.rss(), bytes: memoryUse().bytes });
}
console.log(JSON.stringify(held));
