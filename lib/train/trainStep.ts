import { packBatch, type RolloutBatch } from '../rollout/packBatch.ts';
import { learningRateAt } from './schedule.ts';
import { updateMetrics } from './metrics.ts';
import type { Run } from './run.ts';
import { backward, scoresOf } from './scoring.ts';

/** Part of a rollout batch, with what was computed over the whole of it. */
export interface MiniBatchPart {
  batch: RolloutBatch;
  /** [B] */
  advantages: Float64Array;
  /** [N] */
  oldLogProbs: Float32Array;
}

/** One optimizer update. Returns its metrics. */
export async function trainStep(
  run: Run,
  { batch, advantages, oldLogProbs }: MiniBatchPart,
): Promise<Record<string, number>> {
  const { train } = run.config;
  const loss = await run.algorithm.prepare(
    { ...batch, advantages, oldLogProbs },
    async () => (await scoresOf(run, batch)).entropy,
  );
  run.policy.zeroGradients();
  const scores = await backward(run, batch, loss);
  const learningRate = learningRateAt(run.counters.step + 1, train.steps, train);
  const { gradNorm, skipped } = await run.optimizer.step(learningRate);
  run.counters.step++;
  return updateMetrics({ batch, advantages, oldLogProbs, loss, scores, learningRate, gradNorm, skipped });
}

/** Cuts a rollout batch into mini-batches of so many prompts, in order. */
export function miniBatches({ batch, advantages, oldLogProbs }: MiniBatchPart, prompts: number): MiniBatchPart[] {
  const parts: MiniBatchPart[] = [];
  let first = 0;
  for (let g = 0; g < batch.groups.length; g += prompts) {
    const part = packBatch(batch.groups.slice(g, g + prompts));
    const end = first + part.rewards.length;
    const [from, to] = [batch.tokenStarts[first]!, batch.tokenStarts[end]!];
    parts.push({ batch: part, advantages: advantages.slice(first, end), oldLogProbs: oldLogProbs.slice(from, to) });
    first = end;
  }
  return parts;
}
