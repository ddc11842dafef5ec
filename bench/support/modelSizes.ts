import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeSmallPolicy } from '../../lib/data/gallery/index.ts';
import { parseModelConfig } from '../../lib/model/qwen3vl/config.ts';
import { initialWeights } from '../../lib/model/qwen3vl/init.ts';
import { sideFiles, writeCheckpoint } from '../../lib/model/qwen3vl/writeCheckpoint.ts';

/** Policies by name: tiny has 2.5 million parameters, small 40.9, text the vocabulary of the large ones. */
export const MODEL_SIZES = {
  tiny: {
    ...{ hidden: 128, layers: 4, heads: 8, kvHeads: 2, headDim: 32, section: [6, 5, 5], mlp: 384, vocab: 1024 },
    ...{ visionHidden: 96, visionMlp: 256 },
  },
  small: {
    ...{ hidden: 512, layers: 8, heads: 8, kvHeads: 4, headDim: 64, section: [12, 10, 10], mlp: 1536, vocab: 8192 },
    ...{ visionHidden: 256, visionMlp: 1024 },
  },
  text: {
    ...{ hidden: 256, layers: 4, heads: 8, kvHeads: 4, headDim: 32, section: [6, 5, 5], mlp: 768, vocab: 151_936 },
    ...{ visionHidden: 96, visionMlp: 256 },
  },
};
export type ModelSize = keyof typeof MODEL_SIZES;

/** Writes an untrained policy of that size into a folder in `dir`, with patches of 16 pixels and the gallery's tokenizer. @returns the folder */
export async function writeModel(dir: string, name: ModelSize): Promise<string> {
  const size = MODEL_SIZES[name];
  const gallery = join(dir, 'gallery');
  await writeSmallPolicy(gallery, { visionDepth: 6 });
  const read = (file: string) => JSON.parse(readFileSync(join(gallery, file), 'utf8')) as Record<string, object>;
  const json = read('config.json');
  Object.assign(json['text_config']!, {
    hidden_size: size.hidden,
    num_hidden_layers: size.layers,
    num_attention_heads: size.heads,
    num_key_value_heads: size.kvHeads,
    head_dim: size.headDim,
    intermediate_size: size.mlp,
    vocab_size: size.vocab,
    rope_scaling: { mrope_interleaved: true, mrope_section: size.section, rope_type: 'default' },
  });
  Object.assign(json['vision_config']!, {
    ...{ patch_size: 16, num_position_embeddings: 256, deepstack_visual_indexes: [1, 2, 4] },
    ...{ hidden_size: size.visionHidden, intermediate_size: size.visionMlp, out_hidden_size: size.hidden },
  });
  const folder = join(dir, name);
  const config = parseModelConfig(json, `${folder}/config.json`);
  const bytes = (x: object) => Buffer.from(JSON.stringify(x));
  const patches = ['preprocessor_config.json', 'video_preprocessor_config.json'].map(
    (file) => [file, bytes({ ...read(file), patch_size: 16 })] as const,
  );
  await writeCheckpoint(folder, {
    files: {
      ...(await sideFiles(gallery)),
      'config.json': bytes(json),
      // every response gets all its tokens: what ends one is a placeholder, which is never sampled
      'generation_config.json': bytes({ eos_token_id: config.ids.visionStart }),
      ...Object.fromEntries(patches),
    },
    tensors: initialWeights(config, 1),
    config,
    dtype: 'float32',
  });
  return folder;
}
