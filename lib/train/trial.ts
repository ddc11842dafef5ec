import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { childEnvironment } from '../runtime/env.ts';
import { ERROR_CODES, G2rpoError, type Failure } from '../runtime/errors.ts';
import { packageRoot } from '../runtime/native.ts';
import type { MetricRow, TrialRecord } from '../types.ts';
import type { Trial } from './ablation.ts';
import { differencesOf } from './differencesOf.ts';

const [DONE, METRICS, LOG] = ['trial.json', 'metrics.jsonl', 'log.txt'];

/** Whether a trial was trained to its end. */
export interface TrialState {
  done: boolean;
  /** why that cannot be said; its training is then run again, and goes on where it stands */
  problem?: string;
}

/**
 * Whether a trial was trained to its end, with the same configuration.
 *
 * @throws INVALID_CONFIG  with another one
 * @throws IO  its files cannot be read
 */
export function stateOf({ dir, config, variant, seed }: Trial): TrialState {
  const file = join(dir, DONE);
  const text = textOf(file);
  if (text === undefined) return { done: false };
  const saved = parsed(text);
  if (typeof saved !== 'object' || saved === null || Array.isArray(saved))
    return { done: false, problem: `${file} is not as it was written; its training is looked at again` };
  // the folder of an ablation may be moved; a preset is compared by its values
  const differences = differencesOf(saved, JSON.parse(JSON.stringify(config)), ['output', 'preset']);
  if (differences.length === 0) return { done: true };
  const [shown, more] = [differences.slice(0, SHOWN), differences.length - SHOWN];
  throw new G2rpoError(
    'INVALID_CONFIG',
    `${variant}, seed ${seed}: ${dir} holds a trial of another configuration; take another output folder, or remove it. ` +
      `${shown.join('; ')}${more > 0 ? `; and ${more} more` : ''}`,
    { dir, differences },
  );
}
const SHOWN = 5;

export const isDone = (trial: Trial): boolean => stateOf(trial).done;

/** Remembers that a trial was trained to its end. @throws IO */
export function markDone({ dir, config }: Trial): void {
  const file = join(dir, DONE);
  onDisk(file, () => {
    writeFileSync(`${file}.new`, JSON.stringify(config), { flush: true });
    renameSync(`${file}.new`, file);
  });
}

/**
 * Runs `g2rpo train` in a process of its own and tells whether it came to its end; it did not if `signal` was aborted. Should this
 * process end before, that one saves and stops.
 *
 * @throws the error of the training, with the variant, the seed and the log in its message
 * @throws ABORTED  somebody else ended it
 * @throws INTERNAL  it ended without a word: with the last lines of its log
 */
export async function runTrial(base: string, trial: Trial, threads: number, signal: AbortSignal): Promise<boolean> {
  const logFile = join(trial.dir, LOG);
  const log = onDisk(logFile, () => {
    mkdirSync(trial.dir, { recursive: true });
    return openSync(logFile, 'a');
  });
  const main = join(packageRoot, 'dist', 'cli', 'main.js');
  const changes = trial.changes.map(({ path, value }) => `${path}=${JSON.stringify(value)}`);
  // what is typed at the terminal (Ctrl-C) is for this process, which then stops that one: twice would be "at once"
  const child = spawn(process.execPath, [main, 'train', base, ...changes], {
    env: childEnvironment({ threads }),
    stdio: ['ignore', log, log, 'ipc'],
    detached: true,
  });
  closeSync(log);
  const stop = () => child.kill('SIGTERM');
  if (signal.aborted) stop();
  signal.addEventListener('abort', stop);
  let said: unknown;
  child.on('message', (message) => (said = message));
  try {
    // what it said last may arrive after its end
    const ended = new Promise<{ code: number | null; by: NodeJS.Signals | null }>((fulfil, reject) => {
      child.on('error', reject).once('exit', (code, by) => {
        if (!child.connected) fulfil({ code, by });
        else child.once('disconnect', () => fulfil({ code, by }));
      });
    });
    const { code, by } = await ended;
    if (code === 0) return true;
    if (signal.aborted) return false;
    throw failureOf(trial, logFile, { said, code, by });
  } catch (cause) {
    if (cause instanceof G2rpoError) throw cause;
    const message = `${nameOf(trial)}: its training could not be started: ${(cause as Error).message}`;
    throw new G2rpoError('IO', message, { dir: trial.dir }, { cause });
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

const isFailure = (value: unknown): value is Failure =>
  typeof value === 'object' &&
  value !== null &&
  ERROR_CODES.some((code) => code === (value as Partial<Failure>).code) &&
  typeof (value as Partial<Failure>).message === 'string';

function failureOf(
  trial: Trial,
  logFile: string,
  { said, code, by }: { said: unknown; code: number | null; by: NodeJS.Signals | null },
): G2rpoError {
  const details = { dir: trial.dir, code, signal: by };
  const name = nameOf(trial);
  if (isFailure(said)) return new G2rpoError(said.code, `${name}: ${said.message}\nIts log is ${logFile}`, details);
  const STOPPED = 130;
  if (by === 'SIGKILL' || by === 'SIGTERM' || by === 'SIGINT' || code === STOPPED)
    return new G2rpoError(
      'ABORTED',
      `${name}: its training was ended by another process or, where memory is short, by the system (${by ?? `code ${code}`}); ` +
        `the same command goes on from there. Its log is ${logFile}`,
      details,
    );
  const last = (textOf(logFile) ?? '').trimEnd().split('\n').slice(-5).join('\n');
  return new G2rpoError(
    'INTERNAL',
    `${name}: its training ended with ${by ?? `code ${code}`}; ${logFile} ends with\n${last}`,
    details,
  );
}

/**
 * What a trial that is done wrote down.
 *
 * @throws INVALID_DATA  a row is none, or the rows do not reach the end
 * @throws IO  it cannot be read
 */
export function recordOf({ variant, seed, dir, config }: Trial): TrialRecord {
  const file = join(dir, METRICS);
  const refused = (wanted: string, got: string, row?: number) => {
    const place = row === undefined ? file : `${file}, line ${row}`;
    const message = `${place}: ${wanted}; got ${got}. Remove ${dir} to have this trial trained again`;
    return new G2rpoError('INVALID_DATA', message, { file, row, wanted, got });
  };
  const { steps } = config.train;
  const lines = (textOf(file) ?? '').split('\n').filter((line) => line !== '');
  const rows = lines.map((line, i): MetricRow => {
    const row = parsed(line) as MetricRow | null | undefined;
    if (typeof row === 'object' && Number.isSafeInteger(row?.step)) return row!;
    throw refused('a row of metrics was wanted', line.slice(0, 40), i + 1);
  });
  const last = rows.at(-1)?.step;
  if (last !== steps)
    throw refused(`rows up to step ${steps} were wanted`, last === undefined ? 'none' : `step ${last}`);
  return { variant, seed, steps, rows };
}

const nameOf = ({ variant, seed }: Trial): string => `${variant}, seed ${seed}`;

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Undefined if there is no such file. @throws IO */
function textOf(file: string): string | undefined {
  return onDisk(file, () => {
    try {
      return readFileSync(file, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
  });
}

/** @throws IO  with the file, and what the system said */
export function onDisk<T>(file: string, work: () => T): T {
  try {
    return work();
  } catch (cause) {
    throw new G2rpoError('IO', `${file}: ${(cause as Error).message}`, { file }, { cause });
  }
}
