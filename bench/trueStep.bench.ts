// One whole step of G²RPO in the shapes of the released models, random weights in bf16, by phase: prompts with their pictures, rollouts, log-probabilities
// and entropies beforehand (the entropy band wants them), advantages, and the update. For a GPU of 141 GB: `G2RPO_DEVICE=cuda npm run bench -- trueStep:8B`.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Policy } from '../lib/model/qwen3vl/policy.ts';
import { packBatch } from '../lib/rollout/packBatch.ts';
import { limitMemory, memoryUse } from '../lib/runtime/memory.ts';
import { scoresOf } from '../lib/train/scoring.ts';
import { trainStep } from '../lib/train/trainStep.ts';
import { median } from './support/benchKernel.ts';
import { forTrueSizes, TRUE_SIZE_NAMES, writeTrueSize, type TrueSize } from './support/trueSizes.ts';
import { groupOf, neverStop, picture, updateRunOf } from './support/wholeStep.ts';

const SHAPES = {
  large: { prompts: 16, rollouts: 8, side: 512, tokens: 256, micro: 8192 },
  toy: { prompts: 2, rollouts: 2, side: 64, tokens: 4, micro: 32 },
};
const ROUNDS = 3;

export const variants = TRUE_SIZE_NAMES;

export default (sizes: TrueSize[]): Promise<void> => forTrueSizes(sizes, measure);

async function measure(size: TrueSize, dir: string): Promise<void> {
  const { prompts, rollouts, side, tokens, micro } = SHAPES[size === 'toy' ? 'toy' : 'large'];
  const folder = await writeTrueSize(dir, size);
  neverStop(folder);
  const images = Array.from({ length: prompts }, (_, i) => join(dir, `${i}.png`));
  for (const [i, image] of images.entries()) writeFileSync(image, picture(side, i));
  const policy = await Policy.load(folder, { dtype: 'bf16' });
  const run = updateRunOf(policy, folder, {
    preset: 'paper',
    rollout: { prompts, n: rollouts, maxTokens: tokens },
    train: {
      updatePrompts: prompts,
      microBatchTokens: micro,
      optimizer: size === '2B' ? 'adamw' : 'adamw8bit',
      recompute: 'selective',
    },
  });
  await policy.parameters.at(-1)!.weight.read();

  const times = new Map<string, number[]>();
  let rows = 0;
  const step = async (round: number) => {
    const timed = async <T>(phase: string, work: () => Promise<T>): Promise<T> => {
      const begin = performance.now();
      const result = await work();
      if (round > 0) times.set(phase, [...(times.get(phase) ?? []), performance.now() - begin]); // the first one warms up
      return result;
    };
    await timed('whole step', async () => {
      const encoded = await timed('prompts and pictures', () =>
        Promise.all(
          images.map((image, i) =>
            policy.encode([
              { type: 'image', image },
              { type: 'text', text: `Colour of the shape number ${i}?` },
            ]),
          ),
        ),
      );
      const sampled = await timed('rollouts', () =>
        policy.generate(encoded, { n: rollouts, maxTokens: tokens, temperature: 1, seed: round }),
      );
      const batch = packBatch(encoded.map((prompt, g) => groupOf(prompt, g, sampled[g]!)));
      rows = encoded.reduce((sum, { inputIds }) => sum + inputIds.length, 0) + batch.tokenStarts.at(-1)!;
      const scores = await timed('log-probabilities and entropies', () => scoresOf(run, batch));
      const advantages = await timed('advantages', async () =>
        run.algorithm.advantages({ ...batch, oldLogProbs: scores.logProbs }),
      );
      await timed('update', async () => {
        await trainStep(run, { batch, advantages, scores }, true);
        await policy.parameters.at(-1)!.weight.read(); // kernels are enqueued: waits for the last of them
      });
    });
  };
  for (let round = 0; round <= ROUNDS; round++) {
    if (round === 1) limitMemory(Infinity); // the peak begins anew
    await step(round);
  }
  const { optimizer, recompute } = run.config.train;
  console.log(
    `a step of ${size}, ${prompts} × ${rollouts} rollouts of ${tokens} tokens, ${rows} rows of the policy, weights in bf16, ${optimizer}, recompute ${recompute}`,
  );
  for (const [phase, each] of [...times].sort(([a], [b]) => Number(a === 'whole step') - Number(b === 'whole step')))
    console.log(`  ${phase.padEnd(34)}${median(each).toFixed(1).padStart(10)} ms`);
  console.log(`  ${'peak memory'.padEnd(34)}${(memoryUse().peak / 1e9).toFixed(3).padStart(10)} GB`);
  run.optimizer.dispose();
  policy.dispose();
}
