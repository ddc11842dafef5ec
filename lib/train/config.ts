import { z } from 'zod';
import { algorithmConfig } from '../algorithms/index.ts';
import { nearestName } from '../runtime/errors.ts';
import { REWARD_COMPONENTS } from '../types.ts';
import { SPELLING } from './aliases.ts';
import { divisor, files, LARGEST_COUNT, oneOrMore, path, positive, share } from './configTypes.ts';
import { checkTrained, optimizerConfig } from './optimizerConfig.ts';
import { parseConfig } from './parseConfig.ts';
import { presetProblem, withPreset } from './presets.ts';
import { dataConfig, policyConfig, textConfig } from './promptConfig.ts';

// Where a default is from is said by the preset `paper` (presetValues.ts), and beside every key by `g2rpo config`.

const cacheMb = z
  .number()
  .positive()
  .exactOptional()
  .describe(
    'MB of keys and values at most; rollouts for which there is no room wait; default as many as are needed; changes memory, not results',
  );

const stopStrings = oneOrMore(
  z
    .string()
    .min(1)
    .refine((text) => !/\p{Surrogate}/u.test(text), 'must be text without lone surrogates'),
  'must be a text, or a list of texts, of at least one character',
)
  .exactOptional()
  .describe(
    'texts at which a response ends, as soon as it holds one; the token that completed it stays. Beside the stop tokens of the policy',
  );

const rolloutConfig = z.strictObject({
  prompts: positive.default(512).describe('prompts per rollout batch, after filtering'),
  n: z
    .int()
    .min(2)
    .max(LARGEST_COUNT)
    .default(8)
    .describe('rollouts per prompt; one alone has nothing to be compared with'),
  maxTokens: positive.default(4096).describe('tokens of a response at most'),
  temperature: divisor.default(1).describe('divides logits before a token is drawn'),
  topP: z.number().gt(0).max(1).default(1).describe('share of probability that is drawn from; 1 is all of it'),
  topK: z
    .int()
    .min(0)
    .max(LARGEST_COUNT)
    .default(0)
    .describe('tokens that are drawn from, the most probable ones; 0 is all'),
  repetitionPenalty: divisor
    .default(1)
    .describe('divides logits above 0, and multiplies those below, of tokens that were there before; 1 is none'),
  stopStrings,
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
  timeoutMs: z
    .number()
    .positive()
    .max(LARGEST_COUNT)
    .default(10_000)
    .describe('what a call of a reward function may take'),
  concurrency: positive.default(4).describe('calls at a time; threads, where rewards.file is given'),
  formatWeight: share.default(0.1).describe('share of the format in the reward'),
  structureBonus: z
    .enum(['none', 'reference'])
    .default('none')
    .describe('reference adds up to 0.5 for an answer that is built as its type demands'),
});

const trainSection = z.strictObject({
  steps: positive.describe('optimizer updates in all'),
  updatePrompts: positive.default(128).describe('prompts per optimizer update'),
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
  seed: z.int().default(1).describe('of everything that is drawn'),
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
    data: z
      .strictObject({
        validation: files.exactOptional().describe('files or folders of held-out prompts'),
        ...textConfig,
      })
      .prefault({}),
    phases: z
      .array(
        z.strictObject({
          name: z.string().min(1).describe('as it is told of'),
          demonstrations: z
            .array(
              z.strictObject({
                files: files.describe('files or folders of demonstrations'),
                share: z.number().positive().default(1).describe('of the rows of an update, beside the others'),
              }),
            )
            .min(1)
            .describe('where its rows come from'),
          steps: positive.describe('optimizer updates'),
          batchRows: positive.default(32).describe('demonstrations per update'),
          learningRate: z.number().min(0).default(1e-5).describe('of AdamW, at its highest'),
          warmupSteps: z.int().min(0).default(0).describe('updates over which the learning rate rises from 0'),
          decay: z.enum(['constant', 'linear', 'cosine']).default('linear').describe('how it falls after that'),
          finalShare: share.default(0.1).describe('share of the learning rate that a decay ends at'),
        }),
      )
      .min(1)
      .describe('one after the other, each with its own schedule'),
    train: z
      .strictObject(optimizerConfig)
      .omit({ learningRate: true, warmupSteps: true, decay: true, finalShare: true })
      .prefault({}),
    rollout: z
      .strictObject({
        maxTokens: positive.default(4096).describe('tokens of a response at most'),
        stopStrings,
        cacheMb,
      })
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
