import { availableParallelism } from 'node:os';
import type { TrialRecord } from '../types.ts';
import type { Ablation, Trial } from './ablation.ts';
import { folderFree, lockFolder } from './folderLock.ts';
import { isDone, markDone, recordOf, runTrial, stateOf } from './trial.ts';

/** Where an ablation tells of itself. */
export interface AblationListener {
  /** whenever a trial begins or ends */
  trial(trial: Trial, state: 'begins' | 'done'): void;
  /** something a person should know, as a sentence */
  note(text: string): void;
}

/**
 * Trains what is left of a grid, each trial in a process of its own, some at a time. Trials that are done are not trained again, and
 * one that was interrupted goes on, as soon as a process of an ablation that was killed has left its folder.
 *
 * @returns whether all are done; not if `signal` was aborted
 * @throws the error of the first trial that failed; the others were stopped and can be resumed
 * @throws IO  another ablation is at work in the output folder
 */
export async function runAblation(
  ablation: Ablation,
  listener: AblationListener,
  signal?: AbortSignal,
): Promise<boolean> {
  using lock = lockFolder(ablation.output);
  const left = ablation.trials.filter((trial) => {
    const { done, problem } = stateOf(trial);
    if (problem !== undefined) listener.note(problem);
    return !done;
  });
  const stop = new AbortController();
  const stopAll = () => stop.abort();
  signal?.addEventListener('abort', stopAll);
  if (signal?.aborted) stopAll();
  const jobs = Math.min(ablation.jobs, left.length);
  const threads = Math.max(1, Math.floor(availableParallelism() / Math.max(1, jobs)));
  const worker = async () => {
    for (let trial = left.shift(); trial && !stop.signal.aborted; trial = left.shift()) {
      const { dir } = trial;
      const onWait = (pid: number) => listener.note(`waiting for process ${pid}, which is at work in ${dir}`);
      await folderFree(dir, onWait, stop.signal);
      if (stop.signal.aborted) return;
      listener.trial(trial, 'begins');
      if (!(await runTrial(ablation.base, trial, threads, stop.signal))) return;
      markDone(trial);
      listener.trial(trial, 'done');
    }
  };
  try {
    const workers = Array.from({ length: jobs }, () => worker().catch((error: unknown) => (stopAll(), error)));
    const failure = (await Promise.all(workers)).find((error) => error !== undefined);
    if (failure !== undefined) throw failure as Error;
  } finally {
    signal?.removeEventListener('abort', stopAll);
  }
  return !signal?.aborted;
}

/** What the trials that are done wrote down. @throws INVALID_DATA, IO  as `recordOf` */
export const recordsOf = ({ trials }: Ablation): TrialRecord[] => trials.filter(isDone).map(recordOf);
