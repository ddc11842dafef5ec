import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createAlgorithm } from '../lib/algorithms/index.ts';
import { writeSmallPolicy } from '../lib/data/gallery/index.ts';
import type { EncodedPrompt } from '../lib/model/qwen3vl/encodePrompt.ts';
import { Policy } from '../lib/model/qwen3vl/policy.ts';
import { native } from '../lib/runtime/native.ts';
import { packBatch } from '../lib/rollout/packBatch.ts';
import type { Group } from '../lib/rollout/group.ts';
import { loadTrainConfig } from '../lib/train/config.ts';
import { createOptimizer } from '../lib/train/optimizer.ts';
import type { Run } from '../lib/train/run.ts';
import { scoresOf } from '../lib/train/scoring.ts';
import { trainStep } from '../lib/train/trainStep.ts';
import { median } from './support/benchKernel.ts';

// The step that notes elsewhere measure TRL on: 16 prompts × 8 rollouts × 32 tokens, 64 visual tokens a picture.
const [PROMPTS, ROLLOUTS, TOKENS, VISUAL] = [16, 8, 32, 64];
const ROUNDS = 5;

/** One whole step by phases: rollout, log-probabilities, update; CPU time of one thread, medians. */
export default async function stepBench(): Promise<void> {
  native().setThreads(1);
  const dir = join(mkdtempSync(join(tmpdir(), 'g2rpo-step-')), 'policy');
  const side = 16 * Math.sqrt(VISUAL);
  await writeSmallPolicy(dir, { imageSize: side, visionDepth: 6 });
  const policy = await Policy.load(dir);
  const run = {
    config: loadTrainConfig({
      output: dir,
      policy: { path: dir },
      data: { train: 'none' },
      rollout: { prompts: PROMPTS, n: ROLLOUTS, maxTokens: TOKENS },
      train: { steps: 1e6, updatePrompts: PROMPTS, learningRate: 1e-6 },
    }),
    policy,
    algorithm: createAlgorithm({
      ...loadTrainConfig({
        output: dir,
        policy: { path: dir },
        data: { train: 'none' },
        train: { steps: 1, updatePrompts: 1 },
      }).algorithm,
    }),
    optimizer: createOptimizer(policy.parameters, {
      betas: [0.9, 0.999],
      epsilon: 1e-8,
      weightDecay: 0.01,
      maxGradNorm: 1,
    }),
    counters: { step: 0, batch: 0, groups: 0 },
  } as unknown as Run;

  const prompts = await Promise.all(Array.from({ length: PROMPTS }, (_, i) => promptOf(policy, i, side)));
  const times = { rollout: [] as number[], 'log-probabilities': [] as number[], update: [] as number[] };
  let rows = 0;
  for (let round = 0; round <= ROUNDS; round++) {
    const begin = cpuSeconds();
    const sampled = await policy.generate(prompts, { n: ROLLOUTS, maxTokens: TOKENS, seed: round });
    const generated = cpuSeconds();
    const groups = prompts.map((encoded, g) => groupOf(encoded, g, sampled[g]!));
    const batch = packBatch(groups);
    rows = batch.tokenStarts.at(-1)!;
    const { logProbs, entropy } = await scoresOf(run, batch);
    const scored = cpuSeconds();
    const advantages = await run.algorithm.advantages(batch);
    await trainStep(run, { batch, advantages, oldLogProbs: logProbs, entropy }, true);
    const end = cpuSeconds();
    if (round === 0) continue; // the first one warms up
    times.rollout.push(generated - begin);
    times['log-probabilities'].push(scored - generated);
    times.update.push(end - scored);
  }
  console.log(
    `a step of ${PROMPTS} × ${ROLLOUTS} rollouts of ${TOKENS} tokens, ${VISUAL} visual tokens a picture, one thread (CPU time)`,
  );
  for (const [phase, values] of Object.entries(times)) {
    const time = median(values);
    console.log(
      `${phase.padEnd(20)}${(1000 * time).toFixed(0).padStart(7)} ms${(rows / time).toFixed(0).padStart(9)} response tokens/s`,
    );
  }
  const whole = times.rollout.map((t, i) => t + times['log-probabilities'][i]! + times.update[i]!);
  console.log(
    `${'whole step'.padEnd(20)}${(1000 * median(whole)).toFixed(0).padStart(7)} ms${(rows / median(whole)).toFixed(0).padStart(9)} response tokens/s`,
  );
  policy.dispose();
}

const cpuSeconds = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
};

async function promptOf(policy: Policy, i: number, side: number): Promise<EncodedPrompt> {
  const text = await policy.encode([{ type: 'text', text: `Colour of the shape number ${i}?` }]);
  const { ids } = policy.config;
  const visual = VISUAL;
  const inputIds = Int32Array.from([
    ids.visionStart,
    ...Array<number>(visual).fill(ids.image),
    ids.visionEnd,
    ...text.inputIds,
  ]);
  const positionIds = new Int32Array(3 * inputIds.length);
  for (let axis = 0; axis < 3; axis++)
    for (let r = 0; r < inputIds.length; r++) positionIds[axis * inputIds.length + r] = r;
  const patches = side / 8;
  const pixels = Uint8Array.from({ length: side * side * 3 }, (_, p) => (p * 31 + i * 17) % 256);
  return {
    inputIds,
    positionIds,
    ropeDelta: 0,
    images: [{ pixels, height: side, width: side, gridThw: [1, patches, patches], visualTokens: visual }],
    visualRows: Int32Array.from({ length: visual }, (_, v) => v + 1),
  };
}

function groupOf(
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
