import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseModelConfig } from '../../lib/model/qwen3vl/config.ts';
import {
  sideFiles,
  writeCheckpoint,
  type CheckpointContents,
  type NamedTensor,
} from '../../lib/model/qwen3vl/writeCheckpoint.ts';
import { syntheticTensors as tensorsOf, writeSynthetic } from '../../scripts/golden/model/weights.ts';
import { goldenJson, goldenPath } from './goldenModel.ts';

export { syntheticTensor } from '../../scripts/golden/model/weights.ts';
export type GoldenCheckpoint = 'tiny' | 'tiny-untied' | 'tiny-moe' | 'nano';

const configOf = (checkpoint: GoldenCheckpoint) => {
  const file = `checkpoints/${checkpoint}/config.json`;
  return parseModelConfig(goldenJson(file), file);
};

/** All golden weights of a checkpoint, in file order. */
export const syntheticTensors = (checkpoint: GoldenCheckpoint): Generator<NamedTensor> =>
  tensorsOf(configOf(checkpoint));

/** Writes a golden checkpoint with its weights into a new temporary folder and returns the path of the checkpoint. */
export async function writeGoldenCheckpoint(
  checkpoint: GoldenCheckpoint,
  options: { dtype?: 'bfloat16' | 'float32'; maxShardBytes?: number } = {},
): Promise<string> {
  const dir = join(mkdtempSync(join(tmpdir(), 'g2rpo-')), checkpoint);
  await writeSynthetic(dir, goldenPath(`checkpoints/${checkpoint}`), configOf(checkpoint), options);
  return dir;
}

/** nano with six experts of 20, two of which a token goes through; none of their matrices is square. */
export function nanoMoe(change: object = {}): Record<string, unknown> {
  const nano = goldenJson<{ text_config: object }>('checkpoints/nano/config.json');
  const moe = { num_experts: 6, num_experts_per_tok: 2, moe_intermediate_size: 20, ...change };
  const architectures = ['Qwen3VLMoeForConditionalGeneration'];
  return { ...nano, architectures, model_type: 'qwen3_vl_moe', text_config: { ...nano.text_config, ...moe } };
}

type NanoOptions = Omit<CheckpointContents, 'files' | 'tensors'>;

/** Writes such a checkpoint into a new temporary folder and returns its path. */
export const writeNanoMoe = (change: object = {}, options?: NanoOptions): Promise<string> =>
  writeLikeNano(nanoMoe(change), options);

/** The same of nano itself, with another `text_config`. */
export function writeNano(change: object, options?: NanoOptions): Promise<string> {
  const nano = goldenJson<{ text_config: object }>('checkpoints/nano/config.json');
  return writeLikeNano({ ...nano, text_config: { ...nano.text_config, ...change } }, options);
}

async function writeLikeNano(json: Record<string, unknown>, options: NanoOptions = {}): Promise<string> {
  const dir = join(mkdtempSync(join(tmpdir(), 'g2rpo-')), 'like-nano');
  const files = { ...(await sideFiles(goldenPath('checkpoints/nano'))), 'config.json': JSON.stringify(json) };
  await writeCheckpoint(dir, { files, tensors: tensorsOf(parseModelConfig(json, dir)), ...options });
  return dir;
}
