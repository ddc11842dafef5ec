import { lengthOf, type ObservedBatch } from '../algorithms/index.ts';
import { gatherRollouts } from '../rollout/gatherRollouts.ts';
import { packBatch, type RolloutBatch } from '../rollout/packBatch.ts';
import type { StepReport } from '../types.ts';
import { mean } from '../rollout/group.ts';
import { logProbDifference, rolloutMetrics } from './metrics.ts';
import { now, type Run } from './run.ts';
import { scoresOf } from './scoring.ts';
import { miniBatches, trainStep } from './trainStep.ts';

/** One rollout batch: sample, score, keep what can teach, compare, then learn from it in mini-batches. */
export async function rolloutStep(run: Run): Promise<StepReport[]> {
  const { config, counters } = run;
  const begin = now();
  const gathered = await gatherRollouts(run.policy, run.stream, run.rewards, {
    ...config.rollout,
    maxPromptTokens: config.policy.maxPromptTokens,
    text: config.data,
    onBadRow: config.data.onBadRow,
    seed: config.seed,
    batch: counters.batch,
    firstGroupId: counters.groups,
    shape: (rollout) => run.algorithm.shape(rollout, config.rollout),
    greedy: run.algorithm.needs.greedy,
    onProgress: (progress) => run.reporter.sampling?.(progress),
  });
  await run.reporter.rollouts?.(counters.step + 1, gathered.scored);
  for (const reason of gathered.counts.reasons) await run.reporter.note(reason);
  counters.batch++;
  counters.groups += gathered.counts.drawn;

  const sampled = now();
  const batch = packBatch(gathered.groups);
  const scores = await scoresOf(run, batch); // by the trainer, not by the engine that sampled
  const oldLogProbs = scores.logProbs;
  const refLogProbs = run.reference && (await scoresOf(run, batch, run.reference)).logProbs;
  const advantages = await run.algorithm.advantages({ ...batch, oldLogProbs, ...(refLogProbs && { refLogProbs }) });
  const compared = now();
  const first = {
    ...rolloutMetrics(gathered),
    ...logProbDifference(batch.rolloutLogProbs, oldLogProbs),
    ...timings(
      'gen',
      sampled - begin,
      gathered.scored.reduce((n, { tokens }) => n + tokens.length, 0),
    ),
    ...timings('old', compared - sampled, oldLogProbs.length),
  };

  const reports: StepReport[] = [];
  const parts = { batch, advantages, oldLogProbs, entropy: scores.entropy, ...(refLogProbs && { refLogProbs }) };
  for (const mini of miniBatches(parts, config.train.updatePrompts)) {
    if (counters.step === config.train.steps) break;
    const start = now();
    // before the first update the policy is the one that was asked about the whole batch
    const metrics = await trainStep(run, mini, reports.length === 0);
    const update = timings('update', now() - start, mini.oldLogProbs.length);
    // what was measured once for the whole rollout batch stands in the row of its first update
    const report = {
      step: counters.step,
      metrics: { ...metrics, ...(reports.length === 0 && first), ...update, ...memory() },
    };
    await run.reporter.step(report);
    reports.push(report);
  }
  run.algorithm.observe(observed(run, batch, scores.entropy));
  return reports;
}

/** What the algorithm is told of a batch that has been learned from. */
function observed({ config }: Run, { groups, tokenStarts }: RolloutBatch, entropy: Float32Array): ObservedBatch {
  const rollouts = groups.flatMap((group) => group.rollouts);
  return {
    tasks: rollouts.map(({ prompt }) => prompt.taskType),
    lengths: rollouts.map((rollout) => lengthOf(rollout, config.algorithm.lengthReward.unit)),
    accuracies: rollouts.map(({ reward }) => reward.accuracy),
    entropies: rollouts.map((_, b) => mean([...entropy.subarray(tokenStarts[b], tokenStarts[b + 1])])),
  };
}

/** Time of a phase, and its response tokens per second. */
const timings = (phase: string, milliseconds: number, tokens: number) => ({
  [`timing_s/${phase}`]: milliseconds / 1000,
  [`perf/tokens_per_s_${phase}`]: (1000 * tokens) / milliseconds,
});

const memory = () => ({ 'perf/max_memory_gb': process.resourceUsage().maxRSS / 2 ** 20 });
