import { join } from 'node:path';
import { createAlgorithm } from '../algorithms/index.ts';
import { loadDataset, type Dataset, type DatasetOptions } from '../data/dataset.ts';
import { createPromptStream, type PromptStreamState } from '../data/promptStream.ts';
import { validate } from '../eval/validate.ts';
import { G2rpoError } from '../runtime/errors.ts';
import type { Prompt, Reporter, ValidationReport } from '../types.ts';
import { answererOf } from './answerer.ts';
import { batchNotes, rewardsBeforehand, standingOf, wantRoom } from './beforehand.ts';
import { latestCheckpoint, saveCheckpoint } from './checkpoint.ts';
import type { TrainConfig } from './config.ts';
import { encodeSome } from './encodeSome.ts';
import { lockFolder } from './folderLock.ts';
import { rolloutStep } from './rolloutStep.ts';
import type { Run } from './run.ts';
import { holdToLimit, RowBudget, withRemedy } from './rowBudget.ts';
import { rowOptionsOf } from './scoredBy.ts';
import { loadPolicy, NOT_EXPORTED, openTrainee, type Exported } from './trainee.ts';

/** What a run has come to. */
export interface TrainResult extends Exported {
  step: number;
  /** the caller asked to stop before the last step; the run can be resumed */
  stopped: boolean;
  /** before the first update (or of the checkpoint it resumed from), and the last */
  before: ValidationReport | undefined;
  after: ValidationReport | undefined;
}

/** What a checkpoint remembers beside weights and moments. */
export interface TrainState {
  config: TrainConfig;
  counters: Run['counters'];
  /** rows of the policy at a time, as memory allowed */
  rows?: number;
  stream: PromptStreamState;
  algorithm: unknown;
  /** the first and the latest validation */
  before: ValidationReport | undefined;
  after: ValidationReport | undefined;
  /** whether the one of this step is still to come, the run having been stopped in it or before */
  validationDue?: boolean;
}

/**
 * Trains a policy by reinforcement learning, from its checkpoint folder or from where an earlier run in `output` stopped.
 *
 * A run that was killed at any moment and started again with the same configuration ends with the same weights, byte for byte,
 * and reports the same metrics, times and memory aside. When `signal` aborts, a rollout batch that is being sampled is dropped, to be
 * sampled again when the run goes on, and so is a validation; updates of a batch that was sampled are finished. Then the run is saved, and
 * `stopped` is true.
 *
 * @throws INVALID_CONFIG  `output` holds a run of another configuration; the module of rewards cannot be loaded; a cache too small for a
 *   single rollout: all at once
 * @throws IO  another process trains in `output`
 * @throws INVALID_CHECKPOINT  `output` holds checkpoints, but none that is whole
 * @throws INVALID_CHECKPOINT, INVALID_DATA, INVALID_IMAGE, INVALID_VIDEO, INVALID_PROMPT, NO_PROMPTS, IO
 */
export async function train(config: TrainConfig, reporter: Reporter, signal?: AbortSignal): Promise<TrainResult> {
  using lock = lockFolder(config.output);
  using limit = holdToLimit(config.train);
  const checkpoints = join(config.output, 'checkpoints');
  const found = await latestCheckpoint(checkpoints, (reason) => reporter.note(`passed over a checkpoint: ${reason}`));
  const state = found?.state as TrainState | undefined;
  const rowOptions = rowOptionsOf(config);
  const prompts = await read(config.data.train, rowOptions, reporter);
  const heldOut = config.data.validation ? await read(config.data.validation, rowOptions, reporter) : [];
  const stream = createPromptStream(prompts, { ...config.data, seed: config.seed });
  const algorithm = createAlgorithm(withLimits(config));
  const rewards = await rewardsBeforehand(config, standingOf(found));
  const load = async () => {
    if (state) stream.restore(state.stream);
    if (config.rollout.cacheMb !== undefined) {
      const { encoder, longest } = await encodeSome(config, prompts);
      wantRoom(config, encoder.config, longest);
    }
    const trainee = await openTrainee(config, found);
    try {
      return { trainee, ...(algorithm.needs.reference && { reference: await loadPolicy(config) }) };
    } catch (error) {
      trainee.dispose();
      throw error;
    }
  };
  const { trainee, ...reference } = await load().catch(async (error: unknown) => {
    await rewards.close();
    throw withRemedy(error, config.train);
  });
  const { policy, optimizer } = trainee;
  const run: Run = {
    config,
    policy,
    ...reference,
    algorithm,
    optimizer,
    budget: RowBudget.of(config.train, state, (text) => reporter.note(text)),
    stream,
    rewards,
    reporter,
    counters: state?.counters ?? { step: 0, batch: 0, groups: 0 },
    signal,
  };
  try {
    if (found && state) {
      run.algorithm.restore(state.algorithm);
      await reporter.note(`resuming at step ${state.counters.step} from ${found.dir}`);
    }
    for (const text of batchNotes(config, prompts)) await reporter.note(text);
    let { before, after } = { before: state?.before, after: state?.after };
    let due = state ? state.validationDue === true : config.eval.before;
    await rewindTo(reporter, state?.counters.step ?? -1, due);
    const answerer = answererOf(policy, rewards, {
      ...config.rollout,
      maxPromptTokens: config.policy.maxPromptTokens,
      text: config.data,
      onBadRow: config.data.onBadRow,
    });
    const validateNow = async () => {
      due &&= heldOut.length > 0;
      if (!due) return;
      const options = { ...config.eval, step: run.counters.step, signal };
      after = await trainee.judged(() => validate(heldOut, answerer, options));
      due = false;
      before ??= after;
      await noteUnjudged(after, reporter);
      await reporter.validation(after);
    };
    const save = () => {
      const remembered: TrainState = {
        config,
        counters: run.counters,
        rows: run.budget.rows,
        stream: run.stream.state(),
        algorithm: run.algorithm.state(),
        before,
        after,
        ...(due && { validationDue: due }),
      };
      const content = { ...trainee.kept, step: run.counters.step, state: remembered };
      return saveCheckpoint(checkpoints, content, config.train);
    };

    let saved = state ? run.counters.step : -1;
    const { steps, saveEverySteps } = config.train;
    const { everySteps } = config.eval;
    let learning = false; // from a batch that has been sampled
    const goOn = async () => {
      if (due && !signal?.aborted) {
        await validateNow();
        // nothing else would remember that it was taken
        if (state && run.counters.step === steps) await save().catch(noteForgotten(reporter));
      }
      while (run.counters.step < steps && !signal?.aborted) {
        const { step: from, batch } = run.counters;
        await rolloutStep(run).catch((error: unknown) => {
          learning = run.counters.batch > batch;
          throw diverged(error, run.counters.step);
        });
        const step = run.counters.step;
        // validations and checkpoints stand between rollout batches: after the first batch that reaches their step
        const reached = (every: number) => every > 0 && Math.floor(step / every) > Math.floor(from / every);
        due = reached(everySteps) || step === steps;
        if (due) await validateNow();
        if (reached(saveEverySteps) || step === steps) {
          await save();
          saved = step;
        }
      }
    };
    await goOn()
      .catch(unlessStopped(signal))
      .catch(async (error: unknown) => {
        // between batches, as when no prompts are left, what was learned is kept: the run would begin there again
        if (!learning && saved < run.counters.step && run.counters.step > 0) await save().catch(noteLost(reporter));
        throw error;
      });
    const stopped = run.counters.step < steps || due;
    if (stopped && saved !== run.counters.step) await save();
    return {
      step: run.counters.step,
      stopped,
      before,
      after,
      ...(stopped ? NOT_EXPORTED : await trainee.export(config.output)),
    };
  } catch (error) {
    throw withRemedy(error, config.train);
  } finally {
    await rewards.close();
    run.reference?.dispose();
    trainee.dispose();
  }
}

/** The log of a run that goes on. Rows of a validation that is due can only be those of a later process that was killed: it tells them anew. */
export const rewindTo = (reporter: Reporter, step: number, due: boolean) =>
  reporter.rewind(step, due ? step - 1 : step);

/** Passes on what is not the end that the caller asked for. */
export const unlessStopped = (signal: AbortSignal | undefined) => (error: unknown) => {
  if (!signal?.aborted || !(error instanceof G2rpoError) || error.code !== 'ABORTED') throw error;
};

/** A checkpoint that could not be written when a run failed. */
const noteLost = (reporter: Reporter) => (error: unknown) =>
  reporter.note(`${(error as Error).message}; what was learned since the last checkpoint is lost`);

/** A checkpoint that is not needed to go on. */
export const noteForgotten = (reporter: Reporter) => (error: unknown) =>
  reporter.note(`${(error as Error).message}; a run that is started again will take the last validation once more`);

/** A number that is none, told as what it mostly is where updates went before. */
function diverged(error: unknown, step: number): unknown {
  if (!(error instanceof G2rpoError) || error.code !== 'NON_FINITE' || step === 0) return error;
  const message = `after update ${step}: ${error.message}. The training may have diverged: try a lower train.learningRate; checkpoints stay as they are`;
  return new G2rpoError('NON_FINITE', message, error.details, { cause: error });
}

/** The algorithm's settings, with the longest response as the constant of a loss that divides by one. */
export const withLimits = ({ algorithm, rollout }: Pick<TrainConfig, 'algorithm' | 'rollout'>) => ({
  ...algorithm,
  lengthNormaliser: algorithm.lengthNormaliser ?? rollout.maxTokens,
});

async function read(files: readonly string[], options: DatasetOptions, reporter: Reporter): Promise<Prompt[]> {
  const { prompts, skipped } = loadDataset(files, options);
  await noteSkipped(skipped, reporter);
  return prompts;
}

/** Rows that were left out are told, not hidden. */
export async function noteSkipped(
  skipped: readonly Pick<Dataset['skipped'][number], 'reason'>[],
  reporter: Reporter,
): Promise<void> {
  for (const { reason } of skipped.slice(0, 10)) await reporter.note(`left out: ${reason}`);
  if (skipped.length > 10) await reporter.note(`left out: ${skipped.length - 10} more rows`);
}

/** What a validation could not read, and what it could not score. */
export async function noteUnjudged({ skipped, failures }: ValidationReport, reporter: Reporter): Promise<void> {
  await noteSkipped(
    skipped.map((reason) => ({ reason })),
    reporter,
  );
  for (const reason of failures.slice(0, 3)) await reporter.note(`not scored: ${reason}`);
}
