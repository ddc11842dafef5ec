import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeSmallPolicy } from '../lib/data/gallery/index.ts';
import { Policy, type SamplingRequest } from '../lib/model/qwen3vl/policy.ts';
import { answerAll } from '../lib/rollout/engine.ts';
import { environment } from '../lib/runtime/env.ts';
import { native } from '../lib/runtime/native.ts';
import { median } from './support/benchKernel.ts';

const [PROMPTS, ROLLOUTS, TOGETHER] = [64, 8, 8];
const [SHORT, LONG, LONG_OF] = [32, 512, 16];
const ROUNDS = 3;
const SIZES = {
  'the small policy': {},
  'a policy of 24 M parameters': { hidden: 512, mlp: 1536, layers: 8, kvHeads: 4 },
};

/**
 * Few long answers among many short ones: all prompts through a window that refills, beside the same prompts part by part, where
 * each part waits for its longest answer. CPU time, one thread unless `G2RPO_THREADS` says otherwise; medians of interleaved rounds.
 */
export default async function engineBench(): Promise<void> {
  native().setThreads(environment().threads ?? 1);
  console.log(
    `${PROMPTS} prompts × ${ROLLOUTS} responses of ${SHORT} tokens, every ${LONG_OF}th prompt's of ${LONG}; ${TOGETHER} prompts at a time`,
  );
  for (const [name, sizes] of Object.entries(SIZES)) {
    const folder = mkdtempSync(join(tmpdir(), 'g2rpo-engine-'));
    try {
      await writeSmallPolicy(join(folder, 'policy'), { seed: 1, ...sizes });
      await measure(name, join(folder, 'policy'));
    } finally {
      rmSync(folder, { recursive: true });
    }
  }
}

async function measure(name: string, path: string): Promise<void> {
  const policy = await Policy.load(path, { trained: false });
  const prompt = await policy.encode([{ type: 'text', text: 'What colour is the square?' }]);
  const requests = Array.from({ length: PROMPTS }, (_, p): SamplingRequest => {
    const maxTokens = p % LONG_OF === LONG_OF - 1 ? LONG : SHORT;
    return { prompt, n: ROLLOUTS, maxTokens, stopIds: [], rolloutOffset: p * ROLLOUTS };
  });
  const tokens = requests.reduce((sum, { maxTokens }) => sum + ROLLOUTS * maxTokens, 0);
  const answer = (some: SamplingRequest[]) =>
    answerAll(policy, some, { rollouts: TOGETHER * ROLLOUTS, onFinished: () => undefined });
  const ways = {
    'part by part': async () => {
      for (let p = 0; p < PROMPTS; p += TOGETHER) await answer(requests.slice(p, p + TOGETHER));
    },
    refilled: () => answer(requests),
  };
  const seconds: Record<string, number[]> = { 'part by part': [], refilled: [] };
  for (let round = 0; round < ROUNDS; round++)
    for (const [way, work] of Object.entries(ways)) {
      const before = process.cpuUsage();
      await work();
      const { user, system } = process.cpuUsage(before);
      seconds[way]!.push((user + system) / 1e6);
    }
  const rates = Object.entries(seconds).map(([way, all]) => `${way} ${(tokens / median(all)).toFixed(0)} tokens/s`);
  const ratio = median(seconds['part by part']!.map((slow, i) => slow / seconds['refilled']![i]!));
  console.log(`${name}: ${rates.join(', ')}, ${ratio.toFixed(2)}×`);
  policy.dispose();
}
