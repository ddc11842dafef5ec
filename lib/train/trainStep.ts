import type { CurrentScores } from '../algorithms/index.ts';
import { packBatch, type RolloutBatch } from '../rollout/packBatch.ts';
import { learningRateAt } from './schedule.ts';
import { updateMetrics } from './metrics.ts';
import type { UpdateRun } from './run.ts';
import { backward, scoresOf } from './scoring.ts';

/** Part of a rollout batch, with what was computed over the whole of it. */
export interface MiniBatchPart {
  batch: RolloutBatch;
  /** [N] */
  advantages: Float64Array;
  /** of the policy before the first update; left out where this is that, and nothing asks for them before */
  scores?: CurrentScores;
  /** [N] */
  refLogProbs?: Float32Array;
}

/**
 * One optimizer update: its metrics, and what the policy said of every token on the way.
 *
 * @param unmoved  the policy is still the one that the scores are of, and need not be asked again
 */
export async function trainStep(
  run: UpdateRun,
  mini: MiniBatchPart,
  unmoved: boolean,
): Promise<{ metrics: Record<string, number>; scores: CurrentScores }> {
  const { train } = run.config;
  const { batch, scores: before, ...lists } = mini;
  const known = before && { oldLogProbs: before.logProbs };
  const { loss, metrics } = await run.algorithm.prepare({ ...batch, ...lists, ...known }, () =>
    unmoved && before ? Promise.resolve(before) : scoresOf(run, batch),
  );
  const learningRate = learningRateAt(run.counters.step + 1, train.steps, train);
  const scores = await backward(run, batch, loss, run.optimizer.inBackward(learningRate));
  const { gradNorm, skipped } = await run.optimizer.step(learningRate, scores.squaredNorm);
  run.counters.step++;
  const oldLogProbs = before?.logProbs ?? scores.logProbs;
  return {
    metrics: { ...updateMetrics({ ...mini, oldLogProbs, loss, scores, learningRate, gradNorm, skipped }), ...metrics },
    scores,
  };
}

/** Cuts a rollout batch into mini-batches of so many prompts, in order. */
export function miniBatches({ batch, ...lists }: MiniBatchPart, prompts: number): MiniBatchPart[] {
  const parts: MiniBatchPart[] = [];
  let first = 0;
  for (let g = 0; g < batch.groups.length; g += prompts) {
    const part = packBatch(batch.groups.slice(g, g + prompts));
    const end = first + part.rewards.length;
    const [from, to] = [batch.tokenStarts[first]!, batch.tokenStarts[end]!];
    parts.push({
      batch: part,
      advantages: lists.advantages.slice(from, to),
      ...(lists.scores && {
        scores: { logProbs: lists.scores.logProbs.slice(from, to), entropy: lists.scores.entropy.slice(from, to) },
      }),
      ...(lists.refLogProbs && { refLogProbs: lists.refLogProbs.slice(from, to) }),
    });
    first = end;
  }
  return parts;
}
