import { lengthOf, type ObservedBatch } from '../algorithms/index.ts';
import { gatherRollouts } from '../rollout/gatherRollouts.ts';
import { packBatch, type RolloutBatch } from '../rollout/packBatch.ts';
import type { StepReport } from '../types.ts';
import { mean } from '../rollout/group.ts';
import { logProbDifference, rolloutMetrics } from './metrics.ts';
import { memoryUse } from '../runtime/memory.ts';
import { now, type Run } from './run.ts';
import { scoresOf } from './scoring.ts';
import { miniBatches, trainStep } from './trainStep.ts';

/**
 * One rollout batch: sample, score, keep what can teach, compare, then learn from it in mini-batches.
 *
 * @throws ABORTED  the run's signal came while it was sampled: nothing has happened, the stream stands where it stood
 */
export async function rolloutStep(run: Run): Promise<StepReport[]> {
  const { config, counters } = run;
  const begin = now();
  const place = run.stream.state();
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
    signal: run.signal,
    onProgress: (progress) => run.reporter.sampling?.(progress),
  }).catch((error: unknown) => {
    run.stream.restore(place);
    throw error;
  });
  await run.reporter.rollouts?.(counters.step + 1, gathered.scored);
  for (const reason of gathered.counts.reasons) await run.reporter.note(reason);
  counters.batch++;
  counters.groups += gathered.counts.drawn;

  const sampled = now();
  const batch = packBatch(gathered.groups);
  // by the trainer, not by the engine that sampled; where the batch is one update, its own pass finds them
  const oneUpdate = batch.groups.length <= config.train.updatePrompts;
  const before = oneUpdate && !run.algorithm.needs.scores ? undefined : await scoresOf(run, batch);
  const refLogProbs = run.reference && (await scoresOf(run, batch, run.reference)).logProbs;
  const advantages = await run.algorithm.advantages({
    ...batch,
    ...(before && { oldLogProbs: before.logProbs }),
    ...(refLogProbs && { refLogProbs }),
  });
  const compared = now();
  const first = {
    ...rolloutMetrics(gathered),
    ...timings(
      'gen',
      sampled - begin,
      gathered.scored.reduce((n, { tokens }) => n + tokens.length, 0),
    ),
    ...(before && timings('old', compared - sampled, advantages.length)),
  };

  const reports: StepReport[] = [];
  const parts = { batch, advantages, ...(before && { scores: before }), ...(refLogProbs && { refLogProbs }) };
  let found = before;
  for (const mini of miniBatches(parts, config.train.updatePrompts)) {
    if (counters.step === config.train.steps) break;
    const start = now();
    // before the first update the policy is the one that was asked about the whole batch
    const { metrics, scores } = await trainStep(run, mini, reports.length === 0);
    found ??= scores;
    const update = timings('update', now() - start, mini.advantages.length);
    // what was measured once for the whole rollout batch stands in the row of its first update
    const once = reports.length === 0 && { ...first, ...logProbDifference(batch.rolloutLogProbs, found.logProbs) };
    const report = { step: counters.step, metrics: { ...metrics, ...once, ...update, ...memory() } };
    await run.reporter.step(report);
    reports.push(report);
  }
  if (found) run.algorithm.observe(observed(run, batch, found.entropy));
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

const memory = () => ({
  'perf/max_memory_gb': process.resourceUsage().maxRSS / 2 ** 20,
  'perf/max_memory_allocated_gb': memoryUse().peak / 2 ** 30,
});
