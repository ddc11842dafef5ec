// What whole steps are made of: prompts that every size of policy can be asked, and rollouts of them that all end alike.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createAlgorithm } from '../../lib/algorithms/index.ts';
import { encodePng } from '../../lib/data/gallery/png.ts';
import type { EncodedPrompt } from '../../lib/model/qwen3vl/encodePrompt.ts';
import type { Policy } from '../../lib/model/qwen3vl/policy.ts';
import type { Group } from '../../lib/rollout/group.ts';
import { loadTrainConfig } from '../../lib/train/config.ts';
import { createOptimizer } from '../../lib/train/optimizer.ts';
import { RowBudget } from '../../lib/train/rowBudget.ts';
import type { UpdateRun } from '../../lib/train/run.ts';

/** Updates of the policy in the folder; sections of the configuration as they are told. */
export function updateRunOf(
  policy: Policy,
  path: string,
  sections: { rollout: object; train: object; [section: string]: object | string },
): UpdateRun {
  const config = loadTrainConfig({
    output: path,
    policy: { path },
    data: { train: 'none' },
    ...sections,
    train: { steps: 1e6, learningRate: 1e-6, ...sections.train },
  });
  return {
    config,
    policy,
    algorithm: createAlgorithm(config.algorithm),
    optimizer: createOptimizer(policy.trained, config.train, { policy }),
    budget: RowBudget.of(config.train, undefined, (text) => console.log(text)),
    counters: { step: 0, batch: 0, groups: 0 },
  };
}

/** Every response gets all its tokens: what ends one is a placeholder, which is never sampled. */
export function neverStop(policyDir: string): void {
  const config = JSON.parse(readFileSync(join(policyDir, 'config.json'), 'utf8')) as { vision_start_token_id: number };
  writeFileSync(
    join(policyDir, 'generation_config.json'),
    JSON.stringify({ eos_token_id: config.vision_start_token_id }),
  );
}

/** A picture of noise, the i-th of some. */
export const picture = (side: number, i: number) =>
  encodePng(
    Uint8Array.from({ length: side * side * 3 }, (_, p) => (p * 31 + i * 17) % 256),
    side,
    side,
  );

/** Every other rollout of a group has earned its reward. */
export function groupOf(
  encoded: EncodedPrompt,
  groupId: number,
  sampled: Awaited<ReturnType<Policy['generate']>>[number],
): Group {
  const prompt = {
    source: { file: 'bench', row: groupId },
    problem: '',
    images: [],
    problemType: 'math',
    taskType: 'math',
    options: [],
    answer: '',
    extra: {},
  };
  const rollouts = sampled.map(({ tokens, logProbs, finish }, j) => ({
    ...{ groupId, prompt, tokens, text: '', finish },
    rolloutLogProbs: Float32Array.from(logProbs),
    reward: { overall: j % 2, accuracy: j % 2, format: 1 },
  }));
  return { groupId, prompt, encoded, rollouts };
}
