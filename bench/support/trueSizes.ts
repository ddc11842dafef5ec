import { mkdtempSync, rmSync } from 'node:fs';
import { mkdir, open, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ModelConfig } from '../../lib/model/qwen3vl/config.ts';
import { elementCount, tensorNames } from '../../lib/model/qwen3vl/tensorNames.ts';
import { toBf16 } from '../../lib/runtime/bf16.ts';
import { environment } from '../../lib/runtime/env.ts';
import { describeModel } from './modelFolder.ts';

const TEXT = { headDim: 128, section: [24, 20, 20], vocab: 151_936, kvHeads: 8 };
const [SMALL_TOWER, LARGE_TOWER] = [
  { visionDepth: 24, visionHidden: 1024, visionMlp: 4096, visionHeads: 16, taps: [5, 11, 17] },
  { visionDepth: 27, visionHidden: 1152, visionMlp: 4304, visionHeads: 16, taps: [8, 16, 24] },
];
/** Shapes of the released models (their config.json), and one that an emulator can compute. */
export const TRUE_SIZES = {
  '2B': { ...TEXT, ...SMALL_TOWER, hidden: 2048, layers: 28, heads: 16, mlp: 6144, tied: true },
  '4B': { ...TEXT, ...SMALL_TOWER, hidden: 2560, layers: 36, heads: 32, mlp: 9728, tied: true },
  '8B': { ...TEXT, ...LARGE_TOWER, hidden: 4096, layers: 36, heads: 32, mlp: 12_288, tied: false },
  toy: {
    ...{ hidden: 64, layers: 2, heads: 2, kvHeads: 1, headDim: 32, mlp: 128, vocab: 1024 },
    ...{ section: [6, 5, 5], tied: false },
    ...{ visionDepth: 2, visionHidden: 64, visionMlp: 128, visionHeads: 2, taps: [0, 1] },
  },
};
export type TrueSize = keyof typeof TRUE_SIZES;
export const TRUE_SIZE_NAMES = Object.keys(TRUE_SIZES) as TrueSize[];

/** Measures policies of these sizes, each with a folder of its own; of all of them without a GPU the toy alone: a CPU would take hours for the others. */
export async function forTrueSizes(
  sizes: readonly TrueSize[],
  measure: (size: TrueSize, dir: string) => Promise<void>,
): Promise<void> {
  const toyAlone = sizes.length === TRUE_SIZE_NAMES.length && !environment().device;
  if (toyAlone)
    console.log('without G2RPO_DEVICE=cuda the toy alone: it shows that all of it runs, and its numbers say nothing');
  for (const size of toyAlone ? (['toy'] as const) : sizes) {
    const dir = mkdtempSync(join(tmpdir(), 'g2rpo-bench-'));
    try {
      await measure(size, dir);
    } finally {
      rmSync(dir, { recursive: true });
    }
  }
}

const BLOCK = 2 ** 22; // numbers that are repeated: making new ones would take longer than the bench

/** Writes an untrained policy of a released shape, its matrices in bf16, with the gallery's tokenizer. @returns the folder */
export async function writeTrueSize(dir: string, name: TrueSize): Promise<string> {
  const { section, visionDepth, visionHidden, visionMlp, visionHeads, taps, tied, ...text } = TRUE_SIZES[name];
  const { folder, config, files } = await describeModel(dir, name, {
    ...{ text, section, textKeys: { max_position_embeddings: 262_144, dtype: 'bfloat16' } },
    vision: { hidden: visionHidden, mlp: visionMlp, positions: 2304, taps, depth: visionDepth, heads: visionHeads },
    keys: { tie_word_embeddings: tied },
  });
  await mkdir(folder, { recursive: true });
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
  const text = JSON.stringify(header);
  const described = Buffer.from(text.padEnd(Math.ceil(text.length / 8) * 8));
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
