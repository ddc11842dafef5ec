import { existsSync, readFileSync } from 'node:fs';
import { cp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'yaml';
import { writeGallery, writeSmallPolicy, type GalleryOptions } from '../data/gallery/index.ts';
import { packageRoot } from '../runtime/native.ts';
import type { Reporter } from '../types.ts';
import type { TrainConfig } from './config.ts';
import { readSftConfig, readTrainConfig, type ConfigChange } from './readConfig.ts';
import { sft } from './sft.ts';
import { train, type TrainResult } from './train.ts';

const CONFIGS = join(packageRoot, 'configs', 'quickstart');
const POLICY = join(packageRoot, 'assets', 'quickstart', 'policy');

/** The gallery of a YAML file, made at `out` unless it is there. */
function drawGallery(file: string, out: string, onProgress: GalleryOptions['onProgress'], signal?: AbortSignal) {
  const options = parse(readFileSync(file, 'utf8')) as Omit<GalleryOptions, 'out'>;
  return writeGallery({ ...options, out, ...(onProgress && { onProgress }), ...(signal && { signal }) });
}

export interface QuickstartOptions {
  /** folder for the gallery and the run */
  dir: string;
  /** changes of configs/quickstart/train.yaml */
  changes?: readonly ConfigChange[];
  /** starts a new run where an earlier one stands; otherwise that goes on, or its result is told */
  fresh?: boolean;
  onDrawing?: GalleryOptions['onProgress'];
  /** makes the reporter, once it is known what will be trained */
  reporter(config: TrainConfig): Reporter;
  signal?: AbortSignal;
}

/**
 * The quick start: draws the gallery, then trains the small policy that comes with the package on it by G²RPO, as
 * `configs/quickstart/train.yaml` says.
 *
 * @throws as `writeGallery` and `train`
 */
export async function quickstart(options: QuickstartOptions): Promise<TrainResult & { config: TrainConfig }> {
  const { dir, changes = [], fresh = false, onDrawing, signal } = options;
  const gallery = join(dir, 'gallery');
  const { config } = readTrainConfig(join(CONFIGS, 'train.yaml'), [
    { path: 'output', value: join(dir, 'run') },
    { path: 'data.train', value: join(gallery, 'train.jsonl') },
    { path: 'data.validation', value: join(gallery, 'validation.jsonl') },
    ...changes,
  ]);
  if (fresh) await rm(config.output, { recursive: true, force: true });
  await drawGallery(join(CONFIGS, 'gallery.yaml'), gallery, onDrawing, signal);
  return { config, ...(await train(config, options.reporter(config), signal)) };
}

export interface ColdStartOptions {
  /** folder for the demonstrations and the run */
  dir: string;
  changes?: readonly ConfigChange[];
  onDrawing?: GalleryOptions['onProgress'];
  reporter(config: { output: string; steps: number }): Reporter;
  signal?: AbortSignal;
}

/**
 * Makes the policy that the quick start begins with, from random weights: demonstrations, then `configs/quickstart/cold-start/`.
 * It replaces `assets/quickstart/policy` when it is done.
 *
 * @throws as `writeGallery`, `writeSmallPolicy` and `sft`
 */
export async function coldStart({
  dir,
  changes = [],
  onDrawing,
  reporter,
  signal,
}: ColdStartOptions): Promise<TrainResult> {
  await drawGallery(join(CONFIGS, 'cold-start', 'gallery.yaml'), join(dir, 'gallery'), onDrawing, signal);
  const untrained = join(dir, 'untrained');
  if (!existsSync(untrained)) await writeSmallPolicy(untrained);
  const [naming, answers] = ['naming.jsonl', 'answers.jsonl'].map((name) => join(dir, 'gallery', name));
  const { config } = readSftConfig(join(CONFIGS, 'cold-start', 'sft.yaml'), [
    { path: 'output', value: join(dir, 'run') },
    { path: 'policy.path', value: untrained },
    { path: 'data.validation', value: join(dir, 'gallery', 'validation.jsonl') },
    { path: 'phases.0.demonstrations.0.files', value: naming },
    { path: 'phases.1.demonstrations.0.files', value: naming },
    { path: 'phases.1.demonstrations.1.files', value: answers },
    ...changes,
  ]);
  const steps = config.phases.reduce((sum, phase) => sum + phase.steps, 0);
  const result = await sft(config, reporter({ output: config.output, steps }), signal);
  if (result.policyDir !== undefined) {
    await rm(POLICY, { recursive: true, force: true });
    await cp(result.policyDir, POLICY, { recursive: true });
  }
  return result;
}
