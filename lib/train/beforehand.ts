import { join } from 'node:path';
import { laneSizes } from '../data/promptStream.ts';
import { openCheckpoint } from '../model/qwen3vl/checkpoint.ts';
import type { ModelConfig } from '../model/qwen3vl/config.ts';
import { leastCacheBytes } from '../model/qwen3vl/workload.ts';
import type { RewardRunner } from '../rewards/index.ts';
import { G2rpoError } from '../runtime/errors.ts';
import type { Prompt } from '../types.ts';
import { glanceAtLatest, type LatestState } from './checkpoint.ts';
import type { SftConfig, TrainConfig } from './config.ts';
import { differencesOf } from './differencesOf.ts';
import { invalidConfig } from './parseConfig.ts';
import { MEMORY_KEYS } from './rowBudget.ts';
import { rewardRunnerOf } from './scoredBy.ts';

type AnyConfig = TrainConfig | SftConfig;
/** The run that an output folder holds: its configuration as it remembers it, and what it saved of the policy. */
export interface Standing {
  config: unknown;
  policyDir: string;
}

/** The same of a checkpoint of the folder. */
export const standingOf = (found: LatestState | undefined): Standing | undefined =>
  found && { config: (found.state as { config?: unknown } | null)?.config, policyDir: found.policyDir };

/**
 * The rewards of a run, after all has been looked at that can be known before its policy is loaded: the module of rewards, the output
 * folder, the room for keys and values.
 *
 * @throws INVALID_CONFIG  all problems at once
 * @throws INVALID_CHECKPOINT  the policy's folder, where its shapes are asked for
 */
export async function rewardsBeforehand(config: AnyConfig, standing?: Standing): Promise<RewardRunner> {
  const problems = outputProblems(config, standing);
  const note = (error: unknown) => noted(error, problems);
  const rewards = await rewardRunnerOf(config).catch(note);
  problems.push(...((await tooSmallCache(config, standing).catch(note)) ?? []));
  if (rewards && problems.length === 0) return rewards;
  await rewards?.close();
  throw invalidConfig(problems);
}

/**
 * Looks at all that, and lets go of it. Returns the run that stands in the output folder, if it is this one and would go on.
 *
 * @throws as `rewardsBeforehand`; IO
 */
export async function checkBeforehand(config: AnyConfig): Promise<LatestState | undefined> {
  const latest = await glanceAtLatest(join(config.output, 'checkpoints'));
  const rewards = await rewardsBeforehand(config, standingOf(latest));
  await rewards.close();
  return latest;
}

/** A refusal is one problem of several; anything else is thrown. */
function noted(error: unknown, problems: string[]): undefined {
  const more = error instanceof G2rpoError && (error.code === 'INVALID_CONFIG' || problems.length > 0);
  if (!more) throw error;
  problems.push(error.message);
}

function outputProblems(config: AnyConfig, standing: Standing | undefined): string[] {
  if (!standing) return [];
  const isColdStart = (each: unknown) => typeof each === 'object' && each !== null && 'phases' in each;
  const another = isColdStart(standing.config) !== isColdStart(config);
  const differences = another
    ? [`it is one of g2rpo ${isColdStart(standing.config) ? 'sft' : 'train'}`]
    : differencesOf(standing.config, config, mayChange(config));
  if (differences.length === 0) return [];
  return [
    `output: ${config.output} holds a run of another configuration: ${differences.join('; ')}. Take another output folder, or the same configuration`,
  ];
}

/** Keys that nothing depends on which has been computed. */
function mayChange(config: AnyConfig): string[] {
  const keys = ['output', 'train.saveEverySteps', 'train.keepLast', 'eval', ...MEMORY_KEYS];
  if ('phases' in config) return keys;
  keys.push('preset'); // its values are compared as they are
  if (config.train.decay === 'constant') keys.push('train.steps'); // a rate that falls depends on where it ends
  return keys;
}

async function tooSmallCache(config: AnyConfig, standing: Standing | undefined): Promise<string[]> {
  if (config.rollout.cacheMb === undefined) return [];
  if ('phases' in config && !config.data.validation) return []; // nothing is sampled
  const { path } = config.policy;
  const { config: model } = await openCheckpoint(config.train.lora || !standing ? path : standing.policyDir);
  return cacheProblems(config, model, 1);
}

/** @throws INVALID_CONFIG  a prompt of so many tokens and a response as long as one may be do not have room in the cache, by themselves */
export function wantRoom(config: TrainConfig, model: ModelConfig, promptTokens: number): void {
  const problems = cacheProblems(config, model, promptTokens);
  if (problems.length > 0) throw invalidConfig(problems);
}

function cacheProblems({ rollout }: AnyConfig, model: ModelConfig, promptTokens: number): string[] {
  const { cacheMb, maxTokens } = rollout;
  const least = leastCacheBytes(model, promptTokens, maxTokens);
  if (cacheMb === undefined || 1e6 * cacheMb >= least) return [];
  const prompt = promptTokens === 1 ? 'the shortest prompt' : `a prompt of ${promptTokens} tokens`;
  return [
    `rollout.cacheMb: must be at least ${Math.ceil(least / 1e4) / 100} for ${prompt} and a response of ${maxTokens} tokens (rollout.maxTokens); got ${cacheMb}`,
  ];
}

/** What is well and yet may surprise: a batch that goes through the data set more than once. */
export function batchNotes({ rollout, data }: TrainConfig, prompts: readonly Prompt[]): string[] {
  const lanes = laneSizes(prompts, data.taskBalance);
  const each = rollout.prompts / lanes.length;
  return lanes
    .filter(({ size }) => each > size)
    .map(
      ({ task, size }) =>
        `a rollout batch of ${rollout.prompts} prompts (rollout.prompts) goes ${times(each / size)} through the ${size} ` +
        `of ${task ?? 'data.train'}${task === undefined ? '' : ', whose share is as large as any (data.taskBalance)'}; ` +
        'a prompt that comes again is answered anew, as a group of its own',
    );
}

const times = (n: number): string => `${Number(n.toFixed(1))} times`;
