import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeSmallPolicy } from '../../lib/data/gallery/index.ts';
import { parseModelConfig, type ModelConfig } from '../../lib/model/qwen3vl/config.ts';
import { sideFiles } from '../../lib/model/qwen3vl/writeCheckpoint.ts';

/** What is told of a policy in one way for all benches; keys of config.json beside it. */
export interface ModelShape {
  text: { hidden: number; layers: number; heads: number; kvHeads: number; headDim: number; mlp: number; vocab: number };
  /** of the frequencies of a head */
  section: number[];
  vision: { hidden: number; mlp: number; positions: number; taps: number[]; depth?: number; heads?: number };
  textKeys?: object;
  keys?: object;
}

/** A folder in `dir` for a policy with patches of 16 pixels and the gallery's tokenizer: its configuration, and all files but the weights. */
export async function describeModel(
  dir: string,
  name: string,
  { text, section, vision, textKeys, keys }: ModelShape,
): Promise<{ folder: string; config: ModelConfig; files: Record<string, Uint8Array> }> {
  const gallery = join(dir, 'gallery');
  await writeSmallPolicy(gallery, { visionDepth: 6 });
  const read = (file: string) => JSON.parse(readFileSync(join(gallery, file), 'utf8')) as Record<string, object>;
  const json = { ...read('config.json'), ...keys } as Record<string, object>;
  Object.assign(json['text_config']!, {
    hidden_size: text.hidden,
    num_hidden_layers: text.layers,
    num_attention_heads: text.heads,
    num_key_value_heads: text.kvHeads,
    head_dim: text.headDim,
    intermediate_size: text.mlp,
    vocab_size: text.vocab,
    rope_scaling: { mrope_interleaved: true, mrope_section: section, rope_type: 'default' },
    ...textKeys,
  });
  Object.assign(json['vision_config']!, {
    ...{ patch_size: 16, num_position_embeddings: vision.positions, deepstack_visual_indexes: vision.taps },
    ...{ hidden_size: vision.hidden, intermediate_size: vision.mlp, out_hidden_size: text.hidden },
    ...(vision.depth && { depth: vision.depth }),
    ...(vision.heads && { num_heads: vision.heads }),
  });
  const folder = join(dir, name);
  const config = parseModelConfig(json, `${folder}/config.json`);
  const bytes = (x: object) => Buffer.from(JSON.stringify(x));
  const patches = ['preprocessor_config.json', 'video_preprocessor_config.json'].map(
    (file) => [file, bytes({ ...read(file), patch_size: 16 })] as const,
  );
  const files = {
    ...(await sideFiles(gallery)),
    'config.json': bytes(json),
    // every response gets all its tokens: what ends one is a placeholder, which is never sampled
    'generation_config.json': bytes({ eos_token_id: config.ids.visionStart }),
    ...Object.fromEntries(patches),
  };
  return { folder, config, files };
}
