import { join } from 'node:path';
import { loadDataset, loadDemonstrations } from '../data/dataset.ts';
import type { PromptStreamState } from '../data/promptStream.ts';
import { validate } from '../eval/validate.ts';
import type { Policy } from '../model/qwen3vl/policy.ts';
import type { Reporter, ValidationReport } from '../types.ts';
import { answererOf } from './answerer.ts';
import { rewardsBeforehand, standingOf } from './beforehand.ts';
import { latestCheckpoint, saveCheckpoint } from './checkpoint.ts';
import type { SftConfig } from './config.ts';
import { packDemonstrations, type EncodedDemonstration } from './demonstrations.ts';
import { drawRows, openSource, type Source } from './demonstrationSource.ts';
import { lockFolder } from './folderLock.ts';
import { likelihood } from './likelihood.ts';
import type { Optimizer } from './optimizer.ts';
import { now } from './run.ts';
import { holdToLimit, onlyPart, RowBudget, withRemedy } from './rowBudget.ts';
import { rowOptionsOf } from './scoredBy.ts';
import { learningRateAt } from './schedule.ts';
import { noteForgotten, noteSkipped, noteUnjudged, rewindTo, unlessStopped, type TrainResult } from './train.ts';
import { NOT_EXPORTED, openTrainee } from './trainee.ts';

interface SftState {
  config: SftConfig;
  /** of the phase under way, in the order of its sources */
  streams: PromptStreamState[];
  /** rows of the policy at a time, as memory allowed */
  rows?: number;
  before: ValidationReport | undefined;
  after: ValidationReport | undefined;
  /** as of `TrainState` */
  validationDue?: boolean;
}

/**
 * Trains a policy on demonstrations, phase after phase, through the same seam as reinforcement learning: every target token
 * with advantage 1, as a mean over the tokens of the update. Resumes, stops and saves as `train` does. Where bad rows are skipped, other
 * demonstrations take the place of those whose pictures or videos cannot be read.
 *
 * @throws INVALID_CONFIG, INVALID_CHECKPOINT, INVALID_DATA, INVALID_IMAGE, INVALID_VIDEO, INVALID_PROMPT, NO_PROMPTS, IO
 */
export async function sft(config: SftConfig, reporter: Reporter, signal?: AbortSignal): Promise<TrainResult> {
  using lock = lockFolder(config.output);
  using limit = holdToLimit(config.train);
  const checkpoints = join(config.output, 'checkpoints');
  const found = await latestCheckpoint(checkpoints, (reason) => reporter.note(`passed over a checkpoint: ${reason}`));
  const state = found?.state as SftState | undefined;
  const heldOut = config.data.validation ? loadDataset(config.data.validation, rowOptionsOf(config)) : undefined;
  await noteSkipped(heldOut?.skipped ?? [], reporter);
  const rewards = await rewardsBeforehand(config, standingOf(found));
  const trainee = await openTrainee(config, found).catch(async (error: unknown) => {
    await rewards.close();
    throw error;
  });
  const { policy, optimizer } = trainee;
  const budget = RowBudget.of(config.train, state, (text) => reporter.note(text));
  try {
    let step = found?.step ?? 0;
    if (found) await reporter.note(`resuming at step ${step} from ${found.dir}`);
    let { before, after } = { before: state?.before, after: state?.after };
    let due = state ? state.validationDue === true : config.eval.before;
    await rewindTo(reporter, found ? step : -1, due);
    const answerer = answererOf(policy, rewards, {
      ...config.rollout,
      maxPromptTokens: config.policy.maxPromptTokens,
      text: config.data,
      onBadRow: config.data.onBadRow,
    });
    const validateNow = async () => {
      due &&= heldOut !== undefined;
      if (!due) return;
      after = await trainee.judged(() => validate(heldOut!.prompts, answerer, { ...config.eval, step, signal }));
      due = false;
      before ??= after;
      await noteUnjudged(after, reporter);
      await reporter.validation(after);
    };
    const total = config.phases.reduce((sum, phase) => sum + phase.steps, 0);
    const left = due; // by a process that was stopped
    if (!signal?.aborted) await validateNow().catch(unlessStopped(signal));
    if (state && step === total && left && !due) {
      const taken: SftState = { ...state, before, after };
      delete taken.validationDue;
      // nothing else would remember it
      await saveCheckpoint(checkpoints, { ...trainee.kept, step, state: taken }, config.train).catch(
        noteForgotten(reporter),
      );
    }

    const told = new Set<string>(); // why rows were left out
    let saved = step;
    let end = 0;
    for (const phase of config.phases) {
      const begin = end;
      end += phase.steps;
      if (step >= end) continue;
      await reporter.note(`phase ${phase.name}: ${phase.steps} updates`);
      const sources: Source[] = [];
      for (const { files, share } of phase.demonstrations) {
        const { prompts, skipped } = loadDemonstrations(files, config.data);
        await noteSkipped(skipped, reporter);
        sources.push(openSource(prompts, rowsOf(phase, share), config.seed));
      }
      if (state && found!.step > begin && found!.step < end)
        sources.forEach((s, i) => s.stream.restore(state.streams[i]!));
      const save = async () => {
        const remembered: SftState = {
          ...{ config, rows: budget.rows, before, after, ...(due && { validationDue: due }) },
          streams: sources.map((s) => s.stream.state()),
        };
        await saveCheckpoint(checkpoints, { ...trainee.kept, step, state: remembered }, config.train);
        saved = step;
      };
      while (step < end && !signal?.aborted) {
        const learningRate = learningRateAt(step - begin + 1, phase.steps, phase);
        const { metrics, skipped } = await sftStep(policy, optimizer, budget, sources, learningRate, config);
        // a row once: decoders that run at a time do not always find the same words for it
        const untold = skipped.filter((reason) => !told.has(rowOf(reason)) && told.add(rowOf(reason)));
        await noteSkipped(
          untold.map((reason) => ({ reason })),
          reporter,
        );
        step++;
        await reporter.step({ step, metrics });
        due = (config.eval.everySteps > 0 && step % config.eval.everySteps === 0) || step === total;
        await validateNow().catch(unlessStopped(signal));
        if (step % config.train.saveEverySteps === 0 || step === total) await save();
      }
      if (signal?.aborted) {
        if (saved !== step) await save();
        break;
      }
    }
    const stopped = step < total || due;
    return { step, stopped, before, after, ...(stopped ? NOT_EXPORTED : await trainee.export(config.output)) };
  } catch (error) {
    throw withRemedy(error, config.train);
  } finally {
    await rewards.close();
    trainee.dispose();
  }
}

/** A source's rows of a batch: its share, at least one. */
function rowsOf(phase: SftConfig['phases'][number], share: number): number {
  const shares = phase.demonstrations.reduce((sum, s) => sum + s.share, 0);
  return Math.max(1, Math.round((phase.batchRows * share) / shares));
}

/** Of why a row was skipped, the part that names it. */
const rowOf = (reason: string): string => reason.slice(0, reason.indexOf(': '));

/** One update on rows of the sources, cut into micro-batches by the token budget. */
async function sftStep(
  policy: Policy,
  optimizer: Optimizer,
  budget: RowBudget,
  sources: readonly Source[],
  learningRate: number,
  config: SftConfig,
): Promise<{ metrics: Record<string, number>; skipped: string[] }> {
  const start = now();
  const drawn = await Promise.all(sources.map((source) => drawRows(source, policy, config)));
  const [encoded, skippedRows] = [drawn.flatMap((each) => each.encoded), drawn.flatMap((each) => each.skipped)];
  const tokens = encoded.reduce((n, { targetIds }) => n + targetIds.length, 0);
  const { recompute } = config.train;
  const update = optimizer.inBackward(learningRate);
  const learn = async (parts: EncodedDemonstration[][]) => {
    const mean = { nll: 0, entropy: 0 };
    let squaredNorm: number | undefined;
    for (const [k, part] of parts.entries()) {
      const batch = packDemonstrations(part, policy.config.vision.merge);
      const n = batch.targetIds.length;
      const scores = await policy.forwardBackward(batch, likelihood(n, tokens), {
        recompute,
        accumulate: k > 0,
        update,
      });
      squaredNorm = scores.squaredNorm;
      for (let i = 0; i < n; i++) {
        mean.nll -= scores.logProbs[i]! / tokens;
        mean.entropy += scores.entropy[i]! / tokens;
      }
    }
    return { ...mean, squaredNorm };
  };
  const cut = (most: number) => withinRows(encoded, most);
  const { nll, entropy, squaredNorm } = await (update
    ? learn([onlyPart(cut, config.train)])
    : budget.within(cut, learn));
  const { gradNorm, skipped } = await optimizer.step(learningRate, squaredNorm);
  const milliseconds = now() - start;
  const metrics = {
    'sft/loss': nll,
    'sft/rows_skipped': skippedRows.length,
    'actor/entropy': entropy,
    'actor/grad_norm': gradNorm,
    'actor/lr': learningRate,
    'actor/skipped_updates': Number(skipped),
    'actor/tokens': tokens,
    'timing_s/update': milliseconds / 1000,
    'perf/tokens_per_s_update': (1000 * tokens) / milliseconds,
  };
  return { metrics, skipped: skippedRows };
}

function withinRows(list: readonly EncodedDemonstration[], most: number): EncodedDemonstration[][] {
  const parts: EncodedDemonstration[][] = [];
  let rows = Infinity;
  for (const demonstration of list) {
    const more = demonstration.sequence.inputIds.length;
    if (rows + more > most) {
      parts.push([]);
      rows = 0;
    }
    parts.at(-1)!.push(demonstration);
    rows += more;
  }
  return parts;
}
