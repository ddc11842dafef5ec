import { readFileSync } from 'node:fs';
import { mkdir, open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeSmallPolicy } from '../../lib/data/gallery/index.ts';
import { parseModelConfig, type ModelConfig } from '../../lib/model/qwen3vl/config.ts';
import { elementCount, tensorNames } from '../../lib/model/qwen3vl/tensorNames.ts';
import { sideFiles } from '../../lib/model/qwen3vl/writeCheckpoint.ts';
import { toBf16 } from '../../lib/runtime/bf16.ts';

const TEXT = { headDim: 128, section: [24, 20, 20], vocab: 151_936, kvHeads: 8 };
const [SMALL_TOWER, LARGE_TOWER] = [
  { visionDepth: 24, visionHidden: 1024, visionMlp: 4096, taps: [5, 11, 17] },
  { visionDepth: 27, visionHidden: 1152, visionMlp: 4304, taps: [8, 16, 24] },
];
/** Shapes of the released models (their config.json), and one that an emulator can compute. */
export const TRUE_SIZES = {
  '2B': { ...TEXT, ...SMALL_TOWER, hidden: 2048, layers: 28, heads: 16, mlp: 6144, tied: true },
  '4B': { ...TEXT, ...SMALL_TOWER, hidden: 2560, layers: 36, heads: 32, mlp: 9728, tied: true },
  '8B': { ...TEXT, ...LARGE_TOWER, hidden: 4096, layers: 36, heads: 32, mlp: 12_288, tied: false },
  toy: {
    ...{
      hidden: 64,
      layers: 2,
      heads: 2,
      kvHeads: 1,
      headDim: 32,
      section: [6, 5, 5],
      mlp: 128,
      vocab: 1024,
      tied: false,
    },
    ...{ visionDepth: 2, visionHidden: 64, visionMlp: 128, taps: [0, 1] },
  },
};
export type TrueSize = keyof typeof TRUE_SIZES;

const BLOCK = 2 ** 22; // numbers that are repeated: making new ones would take longer than the bench

/** Writes an untrained policy of a released shape, its matrices in bf16, with the gallery's tokenizer. @returns the folder */
export async function writeTrueSize(dir: string, name: TrueSize): Promise<string> {
  const size = TRUE_SIZES[name];
  const gallery = join(dir, 'gallery');
  await writeSmallPolicy(gallery, { visionDepth: 3 });
  const read = (file: string) => JSON.parse(readFileSync(join(gallery, file), 'utf8')) as Record<string, object>;
  const json = { ...read('config.json'), tie_word_embeddings: size.tied } as unknown as Record<string, object>;
  Object.assign(json['text_config']!, {
    ...{ hidden_size: size.hidden, num_hidden_layers: size.layers, num_attention_heads: size.heads },
    ...{
      num_key_value_heads: size.kvHeads,
      head_dim: size.headDim,
      intermediate_size: size.mlp,
      vocab_size: size.vocab,
    },
    ...{ max_position_embeddings: 262_144, dtype: 'bfloat16' },
    rope_scaling: { mrope_interleaved: true, mrope_section: size.section, rope_type: 'default' },
  });
  Object.assign(json['vision_config']!, {
    ...{ patch_size: 16, num_position_embeddings: 2304, deepstack_visual_indexes: size.taps, depth: size.visionDepth },
    ...{ hidden_size: size.visionHidden, intermediate_size: size.visionMlp, out_hidden_size: size.hidden },
    num_heads: name === 'toy' ? 2 : 16,
  });
  const folder = join(dir, name);
  const config = parseModelConfig(json, `${folder}/config.json`);
  await mkdir(folder, { recursive: true });
  const text = (x: object) => JSON.stringify(x);
  const files = {
    ...(await sideFiles(gallery)),
    'config.json': text(json),
    // every response gets all its tokens: what ends one is a placeholder, which is never sampled
    'generation_config.json': text({ eos_token_id: config.ids.visionStart }),
    'preprocessor_config.json': text({ ...read('preprocessor_config.json'), patch_size: 16 }),
    'video_preprocessor_config.json': text({ ...read('video_preprocessor_config.json'), patch_size: 16 }),
  };
  for (const [file, content] of Object.entries(files)) await writeFile(join(folder, file), content);
  await writeWeights(join(folder, 'model.safetensors'), config);
  return folder;
}

/** One file: N(0, 0.02²) for matrices, ones for norms, zeros for biases. */
async function writeWeights(path: string, config: ModelConfig): Promise<void> {
  let seed = 1;
  const random = () => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) / 2 ** 32;
  const normal = () => 0.02 * Math.sqrt(-2 * Math.log(random() + 2 ** -33)) * Math.cos(2 * Math.PI * random());
  const blocks = {
    matrix: toBf16(Float32Array.from({ length: BLOCK }, normal)),
    ones: toBf16(new Float32Array(BLOCK).fill(1)),
    zeros: new Uint16Array(BLOCK),
  };
  const tensors = tensorNames(config);
  const header: Record<string, object> = {};
  let end = 0;
  for (const { name, shape } of tensors) {
    const bytes = 2 * elementCount(shape);
    header[name] = { dtype: 'BF16', shape, data_offsets: [end, (end += bytes)] };
  }
  const described = Buffer.from(JSON.stringify(header).padEnd(Math.ceil(JSON.stringify(header).length / 8) * 8));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(described.length));
  const file = await open(path, 'w');
  try {
    await file.writev([length, described]);
    for (const { name, shape } of tensors) {
      const block = blocks[shape.length > 1 ? 'matrix' : name.endsWith('.bias') ? 'zeros' : 'ones'];
      for (let left = elementCount(shape); left > 0; left -= BLOCK)
        await file.write(new Uint8Array(block.buffer, 0, 2 * Math.min(left, BLOCK)));
    }
  } finally {
    await file.close();
  }
}
