import { z } from 'zod';
import { templateProblem } from '../data/promptText.ts';
import { algorithmConfig } from '../algorithms/index.ts';
import { nearestName } from '../runtime/errors.ts';
import { REWARD_COMPONENTS } from '../types.ts';
import { SPELLING } from './aliases.ts';
import { parseConfig } from './parseConfig.ts';
import { presetProblem, withPreset } from './presets.ts';

/** Counts are i32 where arithmetic is done. */
export const LARGEST_COUNT = 2 ** 31 - 1;
const positive = z.int().min(1).max(LARGEST_COUNT);
const path = z
  .string()
  .min(1)
  .refine((text) => !text.includes('\0'), 'must be a path, which has no NUL');
/** A list, or what would be its only entry. */
const oneOrMore = (entry: z.ZodType<string, string>, problem?: string) =>
  z.union([entry.transform((one) => [one]), z.array(entry).min(1)], problem);
const files = oneOrMore(path, 'must be a path, or a list of paths');
const share = z.number().min(0).max(1);
const beta = z.number().min(0).lt(1);

const videoConfig = z
  .strictObject({
    fps: z.number().positive().exactOptional().describe('frames looked at of a second'),
    minFrames: positive.exactOptional(),
    maxFrames: positive.exactOptional(),
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

const policyConfig = z
  .strictObject({
    path: path.describe('Hugging Face checkpoint folder to start from'),
    adapter: path
      .exactOptional()
      .describe("folder of a LoRA adapter in PEFT's format on top of it; trained on where train.lora is given"),
    weights: z
      .enum(['f32', 'bf16'])
      .default('f32')
      .describe('what matrices are kept in; of bf16 they take half the memory, and all arithmetic is still f32'),
    maxPromptTokens: positive.default(16384).describe('a longer prompt is refused, never cut; the value of the paper'),
    minPixels: positive.exactOptional().describe("smallest area of a picture; default is the checkpoint's"),
    maxPixels: positive.exactOptional().describe("largest area of a picture; default is the checkpoint's"),
    video: videoConfig,
  })
  .refine(({ minPixels = 0, maxPixels = Infinity }) => minPixels <= maxPixels, {
    path: ['minPixels'],
    message: 'must be at most policy.maxPixels',
  });

const textConfig = {
  template: z
    .string()
    .superRefine((template, context) => {
      const message = templateProblem(template);
      if (message !== undefined) context.addIssue({ code: 'custom', message, input: template });
    })
    .default('default')
    .describe("'default', 'plain', or a text with {problem}, {options}, {instructions}"),
  tags: z
    .strictObject({ think: z.string().min(1).default('think'), answer: z.string().min(1).default('answer') })
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

const dataConfig = z.strictObject({
  train: files.describe('files or folders of prompts'),
  validation: files.exactOptional().describe('files or folders of held-out prompts'),
  problemType: z.string().exactOptional().describe('for rows that name none'),
  shuffle: z.boolean().default(true),
  taskBalance: z.boolean().default(false).describe('an equal share of every task type in every draw'),
  ...textConfig,
});

const cacheMb = z
  .number()
  .positive()
  .exactOptional()
  .describe(
    'MB of keys and values at most; rollouts for which there is no room wait; default as many as are needed; changes memory, not results',
  );

const rolloutConfig = z.strictObject({
  prompts: positive.default(512).describe('prompts per rollout batch, after filtering; the value of the released code'),
  n: z
    .int()
    .min(2)
    .max(LARGEST_COUNT)
    .default(8)
    .describe('rollouts per prompt; one alone has nothing to be compared with'),
  maxTokens: positive.default(4096).describe('longest response; the value of the paper'),
  temperature: z.number().positive().default(1),
  topP: z.number().gt(0).max(1).default(1),
  topK: z.int().min(0).max(LARGEST_COUNT).default(0).describe('0 is off'),
  repetitionPenalty: z.number().positive().default(1),
  batchPrompts: positive
    .default(64)
    .describe(
      'prompts under way at a time: the next one begins as soon as n rollouts have ended; changes memory, not results',
    ),
  cacheMb,
  filter: z
    .strictObject({
      low: z
        .number()
        .max(1)
        .default(0.01)
        .describe('a group with a mean accuracy at or below is dropped; −1 keeps all'),
      high: z
        .number()
        .min(0)
        .default(0.99)
        .describe('a group with a mean accuracy at or above is dropped; 2 keeps all'),
    })
    .refine(({ low, high }) => low < high, 'low must be below high, or no group is kept')
    .prefault({}),
  maxTries: positive.default(20).describe('draws before too few surviving prompts are an error'),
});

const rewardsConfig = z.strictObject({
  file: path
    .exactOptional()
    .describe('a module whose default export is a reward function; default the built-in rewards'),
  timeoutMs: z.number().positive().max(LARGEST_COUNT).default(10_000),
  concurrency: positive.default(4),
  formatWeight: share.default(0.1).describe('share of the format in the reward; the value of the released code'),
  structureBonus: z.enum(['none', 'reference']).default('none'),
});

const patterns = oneOrMore(z.string().min(1)).exactOptional();

const loraConfig = z
  .strictObject({
    rank: positive.default(16),
    alpha: z.number().positive().default(32).describe('the change is multiplied with alpha / rank'),
    dropout: z
      .number()
      .refine((p) => p === 0, 'must be 0: with dropout the policy that is trained is not the one that was sampled')
      .default(0),
    targets: z
      .array(z.string().min(1))
      .min(1)
      .default(['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj'])
      .describe('last parts of module names, or patterns of whole ones'),
  })
  .exactOptional()
  .describe('trains low-rank changes of matrices; the weights themselves stay as they are');

const emaConfig = z
  .strictObject({
    decay: z.number().gt(0).lt(1).default(0.999).describe('share of itself that the average keeps at an update'),
    validate: z.boolean().default(true).describe('validations are of the average'),
    export: z.boolean().default(true).describe('the policy at the end is the average'),
  })
  .exactOptional()
  .describe('keeps a moving average of what is trained');

const optimizerConfig = {
  freeze: patterns.describe('patterns of parameters that are not trained, as model.visual.*'),
  only: patterns.describe('patterns of the parameters that alone are trained'),
  lora: loraConfig,
  optimizer: z
    .enum(['adamw', 'adamw8bit'])
    .default('adamw')
    .describe('moments in f32, or in 8 bits: 2 bytes a parameter instead of 8'),
  masterWeights: z
    .boolean()
    .default(false)
    .describe(
      'weights in bf16 are moved in f32 by the optimizer, which keeps them; without, they are rounded at random',
    ),
  ema: emaConfig,
  learningRate: z.number().min(0).default(2e-6).describe('the value of the released script'),
  warmupSteps: z.int().min(0).default(0),
  decay: z.enum(['constant', 'linear', 'cosine']).default('constant'),
  finalShare: share.default(0.1).describe('share of the learning rate that a decay ends at'),
  betas: z.tuple([beta, beta]).default([0.9, 0.999]),
  epsilon: z.number().positive().default(1e-8),
  weightDecay: z.number().min(0).default(0.01),
  maxGradNorm: z.number().min(0).default(1).describe('0 is off'),
  optimizerInBackward: z
    .boolean()
    .default(false)
    .describe(
      'each parameter is updated as soon as the backward pass has its gradient, so that those of all are never there at once; needs maxGradNorm: 0, and an update is one micro-batch',
    ),
  offloadOptimizer: z
    .boolean()
    .default(false)
    .describe(
      "moments, and masters of weights in bf16, are in the host's memory beside a GPU and come to it piece by piece in an update; changes memory and time, not results",
    ),
  microBatchTokens: positive
    .default(16384)
    .describe('rows of the policy at a time; changes memory, and results by rounding alone'),
  memoryLimitMb: positive
    .exactOptional()
    .describe(
      'MB that weights, gradients, moments, activations and caches may take together; where an update would take more, its micro-batches are halved',
    ),
  recompute: z
    .enum(['none', 'selective', 'full'])
    .default('none')
    .describe(
      'activations that the backward pass computes again: all but those of products and attention, or all but inputs of layers; changes memory and time, not results',
    ),
  saveEverySteps: positive.default(100),
  keepLast: positive.default(3).describe('checkpoints kept'),
};

/** What is trained is said in one way. */
function checkTrained(
  {
    train,
    policy,
  }: {
    train: {
      freeze?: unknown;
      only?: unknown;
      lora?: unknown;
      masterWeights: boolean;
      maxGradNorm: number;
      optimizerInBackward: boolean;
      offloadOptimizer: boolean;
      ema?: unknown;
    };
    policy: { weights: string };
  },
  context: z.RefinementCtx,
) {
  const narrow = policy.weights === 'bf16' && !train.lora;
  if (train.masterWeights && !narrow)
    context.addIssue({
      code: 'custom',
      path: ['train', 'masterWeights'],
      message:
        'is of weights in bf16 that are trained: it needs policy.weights: bf16, and no train.lora, whose adapters are f32',
      input: true,
    });
  if (train.offloadOptimizer && train.masterWeights && train.ema)
    context.addIssue({
      code: 'custom',
      path: ['train', 'offloadOptimizer'],
      message:
        'takes masters from the device, where train.ema follows them with train.masterWeights; leave one of the three',
      input: true,
    });
  if (train.optimizerInBackward && train.maxGradNorm > 0)
    context.addIssue({
      code: 'custom',
      path: ['train', 'maxGradNorm'],
      message:
        'must be 0 with train.optimizerInBackward: the norm of all gradients is known only when all of them have been used',
      input: train.maxGradNorm,
    });
  const given = (['freeze', 'only', 'lora'] as const).filter((key) => train[key] !== undefined);
  const message = given.includes('lora')
    ? 'stands beside train.lora, which trains its adapters alone; give one of them'
    : 'stands beside train.only and says the same from the other side; give one of them';
  if (given.length > 1)
    context.addIssue({ code: 'custom', path: ['train', given[0]!], message, input: train[given[0]!] });
}

const trainSection = z.strictObject({
  steps: positive.describe('optimizer updates in all'),
  updatePrompts: positive.default(128).describe('prompts per optimizer update; the value of the paper'),
  ...optimizerConfig,
});

const evalConfig = z
  .strictObject({
    before: z.boolean().default(true).describe('validate before the first update'),
    everySteps: z.int().min(0).default(0).describe('validate after so many updates, and after the last; 0 only then'),
    batchPrompts: positive.default(64).describe('prompts under way at a time'),
    samples: z.int().min(0).default(3).describe('generations to show'),
  })
  .prefault({});

const common = {
  output: path.describe('folder of the run: checkpoints, metrics, the trained policy'),
  seed: z.int().default(1),
};

const presetName = z
  .string()
  .superRefine((name, context) => {
    const message = presetProblem(name);
    if (message) context.addIssue({ code: 'custom', message, input: name });
  })
  .exactOptional()
  .describe('values that stand under what is written here; g2rpo presets lists them');

export const trainConfig = z
  .strictObject({
    preset: presetName,
    ...common,
    policy: policyConfig,
    data: dataConfig,
    rollout: rolloutConfig.prefault({}),
    rewards: rewardsConfig.prefault({}),
    algorithm: algorithmConfig.prefault({}),
    train: trainSection,
    eval: evalConfig,
  })
  .superRefine(checkTrained)
  .superRefine(({ rollout, rewards, algorithm, train }, context) => {
    const [format, length] = [rewards.formatWeight, algorithm.lengthReward.weight];
    if (format + length > 1 + 1e-9)
      context.addIssue({
        code: 'custom',
        path: ['algorithm', 'lengthReward', 'weight'],
        message: `must be at most 1 with rewards.formatWeight (${format}), or accuracy would be held against an answer`,
        input: length,
      });
    for (const name of Object.keys((algorithm['componentWeights'] as object | undefined) ?? {})) {
      if (REWARD_COMPONENTS.some((each) => each === name)) continue;
      const nearest = nearestName(name, REWARD_COMPONENTS);
      const hint = nearest ? `; did you mean ${nearest}?` : '';
      context.addIssue({
        code: 'custom',
        path: ['algorithm', 'componentWeights', name],
        message: `must be a component of the reward (${REWARD_COMPONENTS.join(', ')})${hint}`,
        input: name,
      });
    }
    if (rollout.prompts % train.updatePrompts !== 0)
      context.addIssue({
        code: 'custom',
        path: ['train', 'updatePrompts'],
        message: `must divide rollout.prompts (${rollout.prompts}), so that mini-batches are alike`,
        input: train.updatePrompts,
      });
  });
export type TrainConfig = z.output<typeof trainConfig>;

export const sftConfig = z
  .strictObject({
    ...common,
    policy: policyConfig,
    data: z.strictObject({ validation: files.exactOptional(), ...textConfig }).prefault({}),
    phases: z
      .array(
        z.strictObject({
          name: z.string().min(1),
          demonstrations: z
            .array(
              z.strictObject({ files, share: z.number().positive().default(1).describe('of the rows of a batch') }),
            )
            .min(1),
          steps: positive,
          batchRows: positive.default(32).describe('demonstrations per update'),
          learningRate: z.number().min(0).default(1e-5),
          warmupSteps: z.int().min(0).default(0),
          decay: z.enum(['constant', 'linear', 'cosine']).default('linear'),
          finalShare: share.default(0.1),
        }),
      )
      .min(1)
      .describe('one after the other, each with its own schedule'),
    train: z
      .strictObject(optimizerConfig)
      .omit({ learningRate: true, warmupSteps: true, decay: true, finalShare: true })
      .prefault({}),
    rollout: z
      .strictObject({ maxTokens: positive.default(4096), cacheMb })
      .prefault({})
      .describe('of validation'),
    rewards: rewardsConfig.prefault({}),
    eval: evalConfig,
  })
  .superRefine(checkTrained);
export type SftConfig = z.output<typeof sftConfig>;

/** Keys that hold a path or a list of them. */
export const PATHS = [
  'output',
  'policy.path',
  'policy.adapter',
  'data.train',
  'data.validation',
  'data.imageDir',
  'rewards.file',
];

/** @throws INVALID_CONFIG  all problems at once */
export function loadTrainConfig(input: unknown, baseDir?: string): TrainConfig {
  const dir = baseDir === undefined ? {} : { baseDir };
  return parseConfig(trainConfig, input, { spelling: SPELLING, complete: withPreset, paths: PATHS, ...dir });
}

/** @throws INVALID_CONFIG  all problems at once */
export function loadSftConfig(input: unknown, baseDir = '.'): SftConfig {
  const config = parseConfig(sftConfig, input, { spelling: SPELLING, paths: PATHS, baseDir });
  for (const phase of config.phases)
    for (const source of phase.demonstrations)
      source.files = parseConfig(
        z.strictObject({ files }),
        { files: source.files },
        { paths: ['files'], baseDir },
      ).files;
  return config;
}
