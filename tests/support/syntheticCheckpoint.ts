import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseModelConfig } from '../../lib/model/qwen3vl/config.ts';
import { eachWord } from '../../lib/model/qwen3vl/randomStream.ts';
import { elementCount, tensorNames } from '../../lib/model/qwen3vl/tensorNames.ts';
import { sideFiles, writeCheckpoint, type NamedTensor } from '../../lib/model/qwen3vl/writeCheckpoint.ts';
import { goldenJson, goldenPath } from './goldenModel.ts';

export type GoldenCheckpoint = 'tiny' | 'tiny-untied' | 'nano';

/** Element i is off + a · u(i), u the stream of that name in [-1, 1): the inputs of the golden cases, not rounded to BF16. */
export function syntheticStream(name: string, shape: readonly number[], a = 1, off = 0): Float32Array {
  const values = new Float32Array(elementCount(shape));
  eachWord(name, values.length, (i, high) => {
    values[i] = off + a * ((high >>> 8) / 2 ** 23 - 1);
  });
  return values;
}

/**
 * The golden weights of a tensor: a = 0.1 around 1 (norms) or 0 (biases) in one dimension, a = 0.5 in the embedding and
 * position tables, a = √(3 / fan_in) otherwise. fp32; a BF16 file holds them rounded.
 */
export function syntheticTensor(name: string, shape: readonly number[]): Float32Array {
  if (shape.length === 1) return syntheticStream(name, shape, 0.1, name.endsWith('weight') ? 1 : 0);
  if (/(embed_tokens|pos_embed)\.weight$/.test(name)) return syntheticStream(name, shape, 0.5);
  return syntheticStream(name, shape, Math.sqrt(3 / elementCount(shape.slice(1))));
}

/** All golden weights of a checkpoint, in file order. */
export function* syntheticTensors(checkpoint: GoldenCheckpoint): Generator<NamedTensor> {
  const file = `checkpoints/${checkpoint}/config.json`;
  const config = parseModelConfig(goldenJson(file), file);
  for (const { name, shape } of tensorNames(config)) yield { name, shape, data: syntheticTensor(name, shape) };
}

/** Writes a golden checkpoint with its weights into a new temporary folder and returns the path of the checkpoint. */
export async function writeGoldenCheckpoint(
  checkpoint: GoldenCheckpoint,
  options: { dtype?: 'bfloat16' | 'float32'; maxShardBytes?: number } = {},
): Promise<string> {
  const dir = join(mkdtempSync(join(tmpdir(), 'g2rpo-')), checkpoint);
  const files = await sideFiles(goldenPath(`checkpoints/${checkpoint}`));
  await writeCheckpoint(dir, { files, tensors: syntheticTensors(checkpoint), ...options });
  return dir;
}
