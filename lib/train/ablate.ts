import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, openSync, closeSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { parseDocument } from 'yaml';
import { z } from 'zod';
import { childEnvironment } from '../runtime/env.ts';
import { G2rpoError, nearestName } from '../runtime/errors.ts';
import { packageRoot } from '../runtime/native.ts';
import type { MetricRow, TrialRecord } from '../types.ts';
import { SPELLING } from './aliases.ts';
import type { TrainConfig } from './config.ts';
import { parseConfig } from './parseConfig.ts';
import { readTrainConfig, type ConfigChange } from './readConfig.ts';

const ablationConfig = z.strictObject({
  output: z.string().min(1).describe('folder of all runs and of the report'),
  base: z.string().min(1).describe('configuration that every variant begins with'),
  seeds: z.array(z.int()).min(1).describe('every variant is trained once with each'),
  jobs: z.int().min(1).default(1).describe('runs at a time; they share the processors'),
  reference: z.string().exactOptional().describe('variant that the others are compared with; default the last'),
  variants: z
    .array(
      z.looseObject({
        name: z.string().regex(/^[a-z0-9][a-z0-9.+_-]*$/i, 'must be letters, digits, dots, dashes and plus signs'),
      }),
    )
    .min(1)
    .refine((all) => new Set(all.map((each) => each.name)).size === all.length, 'must have a name each, none twice')
    .describe('a name, and what it changes of the base'),
});

/** One training of a grid. */
export interface Trial {
  variant: string;
  seed: number;
  dir: string;
  changes: readonly ConfigChange[];
  config: TrainConfig;
}

/** A grid of trainings: variants of one configuration, each with every seed. */
export interface Ablation {
  output: string;
  base: string;
  jobs: number;
  /** variant that the others are compared with */
  reference: string;
  variants: readonly string[];
  /** seed by seed, so that a grid that is stopped early has something of every variant */
  trials: readonly Trial[];
}

/**
 * The grid that a YAML file describes. All of its configurations are read before anything is trained.
 *
 * @throws IO  a file cannot be read
 * @throws INVALID_CONFIG  in this file, or in what a variant makes of the base
 */
export function readAblation(file: string): Ablation {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    throw new G2rpoError('IO', `the ablation ${file}: ${(cause as Error).message}`, { file }, { cause });
  }
  const document = parseDocument(text);
  if (document.errors.length > 0)
    throw new G2rpoError('INVALID_CONFIG', `${file}: ${document.errors[0]!.message.split('\n')[0]}`, { file });
  const named = SPELLING.named!.map((key) => `variants.${key}`); // tasks and the like are names, not keys of ours
  const options = { paths: ['output', 'base'], baseDir: dirname(resolve(file)), spelling: { names: new Map(), named } };
  const config = parseConfig(ablationConfig, document.toJS() ?? {}, options);
  const variants = config.variants.map((each) => each.name);
  const reference = config.reference ?? variants.at(-1)!;
  if (!variants.includes(reference)) {
    const nearest = nearestName(reference, variants);
    const hint = nearest ? `did you mean ${nearest}?` : `there are ${variants.join(', ')}`;
    throw new G2rpoError('INVALID_CONFIG', `reference: there is no variant ${reference}; ${hint}`, { file });
  }
  const trials = config.seeds.flatMap((seed) =>
    config.variants.map(({ name: variant, ...changed }): Trial => {
      const dir = join(config.output, variant, `seed-${seed}`);
      const changes = [...leaves(changed), { path: 'seed', value: seed }, { path: 'output', value: dir }];
      try {
        return { variant, seed, dir, changes, config: readTrainConfig(config.base, changes).config };
      } catch (cause) {
        if (!(cause instanceof G2rpoError)) throw cause;
        throw new G2rpoError(cause.code, `variant ${variant}: ${cause.message}`, cause.details, { cause });
      }
    }),
  );
  return { output: config.output, base: config.base, jobs: config.jobs, reference, variants, trials };
}

/** Values by dotted key; a list is one value. */
function leaves(value: Record<string, unknown>, path: string[] = []): ConfigChange[] {
  return Object.entries(value).flatMap(([key, inner]) => {
    const at = [...path, key];
    const nested = typeof inner === 'object' && inner !== null && !Array.isArray(inner);
    return nested ? leaves(inner as Record<string, unknown>, at) : [{ path: at.join('.'), value: inner }];
  });
}

const DONE = 'trial.json';

/** Whether a trial was trained to its end, with the same configuration. @throws INVALID_CONFIG  with another one */
export function isDone({ dir, config, variant, seed }: Trial): boolean {
  const file = join(dir, DONE);
  if (!existsSync(file)) return false;
  if (readFileSync(file, 'utf8') === JSON.stringify(config)) return true;
  throw new G2rpoError(
    'INVALID_CONFIG',
    `${variant}, seed ${seed}: ${dir} holds a trial of another configuration; take another output folder, or remove it`,
    { dir },
  );
}

/**
 * Trains what is left of a grid, each trial in a process of its own, some at a time. Trials that are done are not trained again, and
 * one that was interrupted goes on.
 *
 * @param onChange  is told whenever a trial begins or ends
 * @returns whether all are done; not if `signal` was aborted
 * @throws INTERNAL  a trial failed: with the last lines of what it said; the others were stopped and can be resumed
 */
export async function runAblation(
  ablation: Ablation,
  onChange: (trial: Trial, state: 'begins' | 'done') => void,
  signal?: AbortSignal,
): Promise<boolean> {
  const left = ablation.trials.filter((trial) => !isDone(trial));
  const stop = new AbortController();
  const stopAll = () => stop.abort();
  signal?.addEventListener('abort', stopAll);
  const threads = Math.max(1, Math.floor(availableParallelism() / ablation.jobs));
  const worker = async () => {
    for (let trial = left.shift(); trial && !stop.signal.aborted && !signal?.aborted; trial = left.shift()) {
      onChange(trial, 'begins');
      if (!(await runTrial(ablation.base, trial, threads, stop.signal))) return;
      const file = join(trial.dir, DONE);
      writeFileSync(`${file}.new`, JSON.stringify(trial.config));
      renameSync(`${file}.new`, file);
      onChange(trial, 'done');
    }
  };
  try {
    const workers = Array.from({ length: ablation.jobs }, () => worker().catch((error: unknown) => (stopAll(), error)));
    const failure = (await Promise.all(workers)).find((error) => error !== undefined);
    if (failure !== undefined) throw failure as Error;
  } finally {
    signal?.removeEventListener('abort', stopAll);
  }
  return !signal?.aborted;
}

/** Runs `g2rpo train` and tells whether it came to its end; it did not if it was stopped. */
async function runTrial(base: string, trial: Trial, threads: number, signal: AbortSignal): Promise<boolean> {
  mkdirSync(trial.dir, { recursive: true });
  const logFile = join(trial.dir, 'log.txt');
  const log = openSync(logFile, 'a');
  const main = join(packageRoot, 'dist', 'cli', 'main.js');
  const changes = trial.changes.map(({ path, value }) => `${path}=${JSON.stringify(value)}`);
  const child = spawn(process.execPath, [main, 'train', base, ...changes], {
    env: childEnvironment({ threads }),
    stdio: ['ignore', log, log],
  });
  closeSync(log);
  const stop = () => child.kill('SIGTERM');
  if (signal.aborted) stop();
  signal.addEventListener('abort', stop);
  try {
    const code = await new Promise<number | null>((fulfil, reject) => child.once('error', reject).once('exit', fulfil));
    if (code === 0) return true;
    if (signal.aborted) return false;
    const last = readFileSync(logFile, 'utf8').trimEnd().split('\n').slice(-5).join('\n');
    throw new G2rpoError(
      'INTERNAL',
      `${trial.variant}, seed ${trial.seed}: its training ended with code ${code}; ${logFile} ends with\n${last}`,
      { dir: trial.dir, code },
    );
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

/** What the trials that are done wrote down. */
export function recordsOf({ trials }: Ablation): TrialRecord[] {
  return trials.filter(isDone).map(({ variant, seed, dir, config }) => ({
    variant,
    seed,
    steps: config.train.steps,
    rows: readFileSync(join(dir, 'metrics.jsonl'), 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map((line, row) => rowOf(line, join(dir, 'metrics.jsonl'), row + 1)),
  }));
}

function rowOf(line: string, file: string, row: number): MetricRow {
  try {
    return JSON.parse(line) as MetricRow;
  } catch {
    throw new G2rpoError(
      'INVALID_DATA',
      `${file}, line ${row}: a row of metrics was wanted; got ${line.slice(0, 40)}`,
      { file, row },
    );
  }
}
