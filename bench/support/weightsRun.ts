// A process of weights.bench.ts: some updates of a policy, or some decoding, and what they took, as JSON.
import { readFileSync } from 'node:fs';
import { cpuUsage } from 'node:process';
import { Policy } from '../../lib/model/qwen3vl/policy.ts';
import { native } from '../../lib/runtime/native.ts';
import { likelihood } from '../../lib/train/likelihood.ts';
import { createOptimizer, type OptimizerConfig } from '../../lib/train/optimizer.ts';
import { manyRows } from '../../tests/support/manyRows.ts';
import { median } from './benchKernel.ts';

const [dir, dtype, work] = process.argv.slice(2) as [string, 'f32' | 'bf16', string];
native().setThreads(1);
const cpuSeconds = () => (cpuUsage().user + cpuUsage().system) / 1e6;
const status = (key: string) =>
  1024 * Number(new RegExp(`^${key}:\\s+(\\d+)`, 'm').exec(readFileSync('/proc/self/status', 'utf8'))![1]);
const result: Record<string, number> = {};

if (work === 'decode') {
  const policy = await Policy.load(dir, { dtype, trained: false });
  const prompt = await policy.encode([{ type: 'text', text: 'What is it?' }]);
  for (const n of [1, 8, 32]) {
    const times = [];
    for (let round = 0; round < 3; round++) {
      const seconds: number[] = [];
      let tokens = 0;
      for (const maxTokens of [1, 25]) {
        const begin = cpuSeconds();
        const [all] = await policy.generate([prompt], { n, maxTokens, seed: round });
        seconds.push(cpuSeconds() - begin);
        tokens = all!.reduce((sum, { tokens: each }) => sum + each.length, 0);
      }
      times.push((tokens - n) / (seconds[1]! - seconds[0]!));
    }
    result[`tokens/s of ${n}`] = median(times);
  }
} else {
  const settings = JSON.parse(work) as Partial<OptimizerConfig>;
  const policy = await Policy.load(dir, { dtype });
  const optimizer = createOptimizer(policy.trained, {
    ...{ betas: [0.9, 0.999] as const, epsilon: 1e-8, weightDecay: 0.01, maxGradNorm: 1 },
    ...settings,
  });
  const batch = manyRows(400);
  const loss = likelihood(batch.targetIds.length);
  const times: Record<'pass' | 'update', number[]> = { pass: [], update: [] };
  for (let step = 0; step < 4; step++) {
    const begin = cpuSeconds();
    await policy.forwardBackward(batch, loss, { accumulate: false });
    const passed = cpuSeconds();
    await optimizer.step(1e-5);
    await policy.trained[0]!.weight.read();
    times.pass.push(passed - begin);
    times.update.push(cpuSeconds() - passed);
  }
  for (const [name, all] of Object.entries(times)) result[`${name} s`] = median(all.slice(1));
}
result['peak MB'] = status('VmHWM') / 1e6;
console.log(JSON.stringify(result));
