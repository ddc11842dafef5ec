import { loadDataset, loadDemonstrations } from '../data/dataset.ts';
import { createPromptStream } from '../data/promptStream.ts';
import { openCheckpoint } from '../model/qwen3vl/checkpoint.ts';
import { readPeft } from '../model/qwen3vl/peft.ts';
import { parameterCount, tensorNames } from '../model/qwen3vl/tensorNames.ts';
import { G2rpoError } from '../runtime/errors.ts';
import type { Prompt } from '../types.ts';
import { batchNotes, checkBeforehand, wantRoom } from './beforehand.ts';
import type { LatestState } from './checkpoint.ts';
import type { SftConfig, TrainConfig } from './config.ts';
import { trainedSize, type TrainedChoice } from './trainedSize.ts';
import { encodeSome } from './encodeSome.ts';
import { rowOptionsOf } from './scoredBy.ts';
import { wantDevice } from './trainee.ts';
import type { TrainState } from './train.ts';

/**
 * What a run would do, in sentences, after everything that can be known beforehand was checked: rows and answers of every
 * file, pictures that are there, the policy's weights by name and shape, the module of rewards.
 *
 * @throws INVALID_CHECKPOINT, INVALID_CONFIG, INVALID_DATA, INVALID_IMAGE, INVALID_VIDEO, NO_PROMPTS, IO
 */
export async function previewTrain(config: TrainConfig): Promise<string[]> {
  const { data, rollout, train } = config;
  wantDevice(config);
  const standing = await checkBeforehand(config);
  const options = rowOptionsOf(config);
  const { prompts, skipped } = loadDataset(data.train, options);
  const heldOut = data.validation ? loadDataset(data.validation, options) : undefined;
  if (standing)
    createPromptStream(prompts, { ...data, seed: config.seed }).restore((standing.state as TrainState).stream);
  const { encoder, looked, encoded, longest } = await encodeSome(config, prompts);
  if (encoded.length === 0)
    throw new G2rpoError('NO_PROMPTS', `none of the first ${looked} prompts of data.train can be read`);
  wantRoom(config, encoder.config, longest);
  const perBatch = rollout.prompts / train.updatePrompts;
  return [
    await aboutPolicy(config),
    `train on ${prompts.length} prompts (${tasksOf(prompts)})${leftOut(skipped.length)}`,
    `the first ${looked} of them have up to ${longest} tokens${leftOut(looked - encoded.length)}`,
    heldOut
      ? `validate with ${heldOut.prompts.length} prompts (${tasksOf(heldOut.prompts)})${leftOut(heldOut.skipped.length)}`
      : 'no validation: data.validation names no file',
    `${train.steps} updates, each from ${train.updatePrompts} prompts with ${rollout.n} rollouts of up to ${rollout.maxTokens} tokens`,
    `one rollout batch of ${rollout.prompts} prompts serves ${perBatch} updates`.replace(/ 1 updates$/, ' one update'),
    ...batchNotes(config, prompts),
    aboutOutput(config, standing),
  ];
}

/** The same for a cold start. @throws as `previewTrain` */
export async function previewSft(config: SftConfig): Promise<string[]> {
  wantDevice(config);
  const standing = await checkBeforehand(config);
  const phases = config.phases.map(({ name, demonstrations, steps, batchRows }) => {
    const rows = loadDemonstrations(
      demonstrations.flatMap(({ files }) => files),
      config.data,
    );
    return `phase ${name}: ${steps} updates of ${batchRows} of ${rows.prompts.length} rows${leftOut(rows.skipped.length)}`;
  });
  const heldOut = config.data.validation ? loadDataset(config.data.validation, rowOptionsOf(config)) : undefined;
  return [
    await aboutPolicy(config),
    ...phases,
    heldOut ? `validate with ${heldOut.prompts.length} prompts` : 'no validation: data.validation names no file',
    aboutOutput(config, standing),
  ];
}

const aboutOutput = ({ output }: { output: string }, standing: LatestState | undefined): string =>
  `output ${output}${standing ? `, where the run goes on from step ${standing.step}` : ''}`;

async function aboutPolicy({ policy, train }: Pick<TrainConfig, 'policy'> & { train: TrainedChoice }): Promise<string> {
  const { path, adapter } = policy;
  const { config } = await openCheckpoint(path);
  const tensors = tensorNames(config);
  if (adapter !== undefined) await readPeft(adapter, tensors);
  const all = parameterCount(config);
  const trained = trainedSize(tensors, train);
  const millions = (n: number) => `${(n / 1e6).toFixed(2)} million`;
  const on = adapter === undefined ? '' : ` with the adapter ${adapter}`;
  const what = train.lora
    ? `, and ${millions(trained)} of adapters that are trained`
    : `, ${millions(trained)} are trained`;
  return `policy ${path}${on}: ${millions(all)} parameters${trained === all ? '' : what}`;
}

function tasksOf(prompts: readonly Prompt[]): string {
  const counts = new Map<string, number>();
  for (const { taskType } of prompts) counts.set(taskType, (counts.get(taskType) ?? 0) + 1);
  return [...counts]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([task, count]) => `${task} ${count}`)
    .join(', ');
}

const leftOut = (rows: number): string => (rows > 0 ? `; ${rows} bad rows left out` : '');
