import { z } from 'zod';
import { templateProblem } from '../data/promptText.ts';
import { files, path, positive } from './configTypes.ts';

const videoConfig = z
  .strictObject({
    fps: z.number().positive().exactOptional().describe('frames looked at of a second'),
    minFrames: positive.exactOptional().describe('frames looked at, at least'),
    maxFrames: positive.exactOptional().describe('frames looked at, at most'),
    minPixels: positive.exactOptional().describe('smallest area, of all frames together or of each'),
    maxPixels: positive.exactOptional().describe('largest area, of all frames together or of each'),
    sizing: z
      .enum(['clip', 'frame'])
      .exactOptional()
      .describe('areas are of all frames together, or of each and then as in qwen-vl-utils'),
    limitFrames: z.boolean().exactOptional().describe('no frame may take more of the area than its share'),
    outerPair: z
      .boolean()
      .exactOptional()
      .describe('a pair of vision tokens stands around the whole video too, as in transformers since 5.10'),
  })
  .exactOptional()
  .describe("how videos are read; default is the checkpoint's");

/** `policy` of a configuration. */
export const policyConfig = z
  .strictObject({
    path: path.describe('Hugging Face checkpoint folder to start from'),
    adapter: path
      .exactOptional()
      .describe("folder of a LoRA adapter in PEFT's format on top of it; trained on where train.lora is given"),
    weights: z
      .enum(['f32', 'bf16'])
      .default('f32')
      .describe(
        'what matrices are kept in; in bf16 they take half the memory, and factors of their products are rounded where that is faster',
      ),
    maxPromptTokens: positive.default(16384).describe('a longer prompt is refused, never cut'),
    minPixels: positive.exactOptional().describe("smallest area of a picture; default is the checkpoint's"),
    maxPixels: positive.exactOptional().describe("largest area of a picture; default is the checkpoint's"),
    video: videoConfig,
  })
  .refine(({ minPixels = 0, maxPixels = Infinity }) => minPixels <= maxPixels, {
    path: ['minPixels'],
    message: 'must be at most policy.maxPixels',
  });

/** Of `data`: how rows become prompts. */
export const textConfig = {
  template: z
    .string()
    .superRefine((template, context) => {
      const message = templateProblem(template);
      if (message !== undefined) context.addIssue({ code: 'custom', message, input: template });
    })
    .default('default')
    .describe("'default', 'plain', or a text with {problem}, {options}, {instructions}"),
  tags: z
    .strictObject({
      think: z.string().min(1).default('think').describe('around the thought'),
      answer: z.string().min(1).default('answer').describe('around the answer'),
    })
    .refine(({ think, answer }) => think !== answer, 'must be two different names')
    .prefault({})
    .describe('names of the tags around thought and answer'),
  imageDir: path.exactOptional().describe('where paths of images and videos start; default the folder of each file'),
  fps: z.number().positive().exactOptional().describe('frames per second of videos, for rows that do not say'),
  onBadRow: z
    .enum(['error', 'skip'])
    .default('error')
    .describe(
      'what to do with rows that the format does not allow, or whose prompt, pictures or videos cannot be read',
    ),
};

/** `data` of a training. */
export const dataConfig = z.strictObject({
  train: files.describe('files or folders of prompts'),
  validation: files.exactOptional().describe('files or folders of held-out prompts'),
  problemType: z.string().exactOptional().describe('for rows that name none'),
  shuffle: z.boolean().default(true).describe('every epoch has an order of its own; without, that of the files'),
  taskBalance: z.boolean().default(false).describe('an equal share of every task type in every draw'),
  ...textConfig,
});
