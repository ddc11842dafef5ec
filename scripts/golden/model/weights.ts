import { writeCheckpoint, type ModelConfig, type NamedTensor } from '../../../lib/index.ts';
import { isExpert } from '../../../lib/model/qwen3vl/expertLayout.ts';
import { eachWord } from '../../../lib/model/qwen3vl/randomStream.ts';
import { elementCount, tensorNames } from '../../../lib/model/qwen3vl/tensorNames.ts';
import { sideFiles } from '../../../lib/model/qwen3vl/writeCheckpoint.ts';

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
  // experts are [expert, in, out], all other matrices [out, in …]
  const fanIn = isExpert(name) ? shape[1]! : elementCount(shape.slice(1));
  return syntheticStream(name, shape, Math.sqrt(3 / fanIn));
}

/** All golden weights of a model as the file holds them, in its order. */
export function* syntheticTensors(config: ModelConfig): Generator<NamedTensor> {
  for (const { name, shape } of tensorNames(config)) yield { name, shape, data: syntheticTensor(name, shape) };
}

/** Writes the small files of a checkpoint folder, and its golden weights as they are, into a new folder. */
export async function writeSynthetic(
  dir: string,
  from: string,
  config: ModelConfig,
  options: { dtype?: 'bfloat16' | 'float32'; maxShardBytes?: number } = {},
): Promise<void> {
  const files = await sideFiles(from);
  await writeCheckpoint(dir, { files, tensors: syntheticTensors(config), expertLayout: 'in_out', ...options });
}
