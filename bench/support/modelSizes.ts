import { initialWeights } from '../../lib/model/qwen3vl/init.ts';
import { writeCheckpoint } from '../../lib/model/qwen3vl/writeCheckpoint.ts';
import { describeModel } from './modelFolder.ts';

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
  const { section, visionHidden, visionMlp, ...text } = MODEL_SIZES[name];
  const vision = { hidden: visionHidden, mlp: visionMlp, positions: 256, taps: [1, 2, 4] };
  const { folder, config, files } = await describeModel(dir, name, { text, section, vision });
  await writeCheckpoint(folder, { files, tensors: initialWeights(config, 1), config, dtype: 'float32' });
  return folder;
}
