import { z } from 'zod';
import { beta, oneOrMore, positive, share } from './configTypes.ts';

const patterns = oneOrMore(z.string().min(1)).exactOptional();

const loraConfig = z
  .strictObject({
    rank: positive.default(16).describe('of every change'),
    alpha: z.number().positive().default(32).describe('the change is multiplied with alpha / rank'),
    dropout: z
      .number()
      .refine((p) => p === 0, 'must be 0: with dropout the policy that is trained is not the one that was sampled')
      .default(0)
      .describe('there is none'),
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

/** Of `train`: what is trained, by what, and how memory is used. */
export const optimizerConfig = {
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
  learningRate: z.number().min(0).default(2e-6).describe('of AdamW, at its highest'),
  warmupSteps: z.int().min(0).default(0).describe('updates over which the learning rate rises from 0'),
  decay: z.enum(['constant', 'linear', 'cosine']).default('constant').describe('how it falls after that'),
  finalShare: share.default(0.1).describe('share of the learning rate that a decay ends at'),
  betas: z
    .tuple([beta, beta])
    .default([0.9, 0.999])
    .describe('share of themselves that the two moments of AdamW keep at an update'),
  epsilon: z.number().positive().default(1e-8).describe('added to the root of the second moment'),
  weightDecay: z
    .number()
    .min(0)
    .default(0.01)
    .describe('times the learning rate, the share of a weight that an update takes off it'),
  maxGradNorm: z.number().min(0).default(1).describe('a longer gradient is made as short as this; 0 is off'),
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
  saveEverySteps: positive.default(100).describe('updates between checkpoints'),
  keepLast: positive.default(3).describe('checkpoints kept'),
};

/** What is trained is said in one way. */
export function checkTrained(
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
