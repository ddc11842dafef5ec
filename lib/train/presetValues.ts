import { LENGTH_THRESHOLDS } from '../algorithms/shaping/lengthReward.ts';

/** A value of a configuration, and where it is from. */
export type PresetValue = readonly [key: string, value: unknown, source: string];

const PAPER = 'arXiv:2604.08539';
const RELEASE = 'the released code of arXiv:2604.08539';
const KEPT = 'EasyR1’s default, which the released code keeps; unknown in the paper';
const SCRIPT = 'the released script (its YAML says 5e-6); unreadable in the paper';
const PPO = 'unknown in the paper; 0.2 is that of PPO, arXiv:1707.06347';

const ppo = (source: string): PresetValue[] => [
  ['algorithm.loss', 'ppo', source],
  ['algorithm.clipRange.low', 0.2, source],
  ['algorithm.clipRange.high', 0.3, source],
  ['algorithm.clipRange.dual', 3, source],
  ['algorithm.aggregation', 'token-mean', source],
];

const optimizer = (source: string): PresetValue[] => [
  ['train.warmupSteps', 0, source],
  ['train.decay', 'constant', source],
  ['train.betas', [0.9, 0.999], source],
  ['train.epsilon', 1e-8, source],
  ['train.weightDecay', 0.01, source],
  ['train.maxGradNorm', 1, source],
];

const unfiltered = (source: string): PresetValue[] => [
  ['rollout.filter.low', -1, source],
  ['rollout.filter.high', 2, source],
];

/** What the paper and its released code have in common. */
const recipe: PresetValue[] = [
  ['seed', 1, RELEASE],
  ['policy.maxPromptTokens', 16384, RELEASE],
  ['policy.minPixels', 3136, RELEASE],
  ['policy.maxPixels', 1048576, RELEASE],
  ['policy.video.fps', 2, RELEASE],
  ['policy.video.maxFrames', 128, RELEASE],
  ['policy.video.sizing', 'frame', RELEASE],
  ['policy.video.minPixels', 4096, RELEASE],
  ['policy.video.maxPixels', 65536, RELEASE],
  ['rollout.prompts', 512, RELEASE],
  ['rollout.n', 8, RELEASE],
  ['rollout.maxTokens', 4096, `${PAPER} and its released code`],
  ['rollout.temperature', 1, RELEASE],
  ['rollout.topP', 1, RELEASE],
  ['rollout.topK', 0, `${RELEASE}, where −1 is off`],
  ['rollout.filter.low', 0.01, `${PAPER}, dynamic filtering; the value of its released code`],
  ['rollout.filter.high', 0.99, `${PAPER}, dynamic filtering; the value of its released code`],
  ['rollout.maxTries', 20, RELEASE],
  ['rewards.formatWeight', 0.1, RELEASE],
  ...ppo(KEPT),
  ['algorithm.kl.coef', 0, `${PAPER} and its released code: no KL term, no reference policy`],
  ['train.updatePrompts', 128, `${PAPER}, where it is the batch size; the released code’s global_batch_size`],
  ['train.learningRate', 2e-6, SCRIPT],
  ...optimizer(`${RELEASE}, where they are EasyR1’s defaults`),
  ['train.saveEverySteps', 100, RELEASE],
  ['train.keepLast', 3, RELEASE],
];

export const paper: PresetValue[] = [
  ['algorithm.name', 'g2rpo', `${PAPER}, Gaussian advantage`],
  [
    'algorithm.mode',
    'group_then_task',
    'decision: the paper’s formula ranks all rewards of a task at once (task), which pushes up every rollout of an easy prompt; ' +
      'its results were made by the two passes of the released code',
  ],
  ['algorithm.tieTolerance', 1e-9, 'decision: quantiles that differ only by rounding are tied'],
  ...recipe,
  ['algorithm.entropyBand.coef', 0.02, `${PAPER}, entropy shaping; the value is in the released code, where it is off`],
  ['algorithm.entropyBand.estimator', 'exact', 'decision: the released code’s estimate has an expected gradient of 0'],
  ['algorithm.entropyBand.min', 0.2, `${RELEASE}, for every task; the paper’s values by task are unknown`],
  ['algorithm.entropyBand.max', 0.6, `${RELEASE}, for every task; the paper’s values by task are unknown`],
  ['algorithm.lengthReward.weight', 0.1, 'a comment of the released code; unknown in the paper'],
  ['algorithm.lengthReward.unit', 'tokens', 'decision: the paper’s curves are in tokens; unknown in its text'],
  ['algorithm.lengthReward.gate', 'none', RELEASE],
  ...Object.entries(LENGTH_THRESHOLDS).map(([task, thresholds]): PresetValue => {
    const source = 'unknown; decision: read off the curves of the paper’s figures';
    return [`algorithm.lengthReward.tasks.${task}`, [...thresholds], source];
  }),
  [
    'rewards.structureBonus',
    'none',
    'decision: that of the released code takes the reward up to 1.5; unknown in the paper',
  ],
];

export const referenceCode: PresetValue[] = [
  ['algorithm.name', 'g2rpo', `${RELEASE}, where it is gs_grpo`],
  ['algorithm.mode', 'group_then_task', RELEASE],
  ['algorithm.tieTolerance', 0, `${RELEASE}, which ties equal numbers alone`],
  ...recipe,
  ['algorithm.entropyBand.coef', 0, `${RELEASE}: use_entropy_loss is off`],
  ['algorithm.entropyBand.estimator', 'sampled_nll', RELEASE],
  ['algorithm.lengthReward.weight', 0, `${RELEASE}: the term is commented out`],
  ['algorithm.lengthReward.unit', 'characters', RELEASE],
  ['data.tags.think', 'thinking', RELEASE],
  ['data.tags.answer', 'answer', RELEASE],
  ['rewards.structureBonus', 'reference', RELEASE],
];

const EASYR1 = 'EasyR1, default configuration';
export const easyr1: PresetValue[] = [
  ['seed', 1, EASYR1],
  ['policy.maxPromptTokens', 2048, EASYR1],
  ['policy.minPixels', 262144, EASYR1],
  ['policy.maxPixels', 4194304, EASYR1],
  ['rollout.prompts', 512, EASYR1],
  ['rollout.n', 5, EASYR1],
  ['rollout.maxTokens', 2048, EASYR1],
  ['rollout.temperature', 1, EASYR1],
  ...unfiltered(`${EASYR1}: online_filtering is off`),
  ['algorithm.name', 'grpo', EASYR1],
  ['algorithm.std', 'sample', EASYR1],
  ['algorithm.epsilon', 1e-6, EASYR1],
  ...ppo(EASYR1),
  ['algorithm.kl.coef', 0.01, EASYR1],
  ['algorithm.kl.kind', 'k3', `${EASYR1}, where it is low_var_kl`],
  ['algorithm.kl.in', 'loss', `${EASYR1}: use_kl_loss is on`],
  ['train.updatePrompts', 128, EASYR1],
  ['train.learningRate', 1e-6, EASYR1],
  ...optimizer(EASYR1),
];

const GRPO = 'arXiv:2402.03300';
export const grpo: PresetValue[] = [
  ['algorithm.name', 'grpo', GRPO],
  ['algorithm.std', 'sample', `over n or n − 1 is unknown in ${GRPO}; verl and EasyR1 take n − 1`],
  ['algorithm.loss', 'ppo', GRPO],
  ['algorithm.clipRange.low', 0.2, PPO],
  ['algorithm.clipRange.high', 0.2, PPO],
  ['algorithm.clipRange.dual', 0, `${GRPO} has no such bound`],
  ['algorithm.aggregation', 'seq-mean-token-mean', `${GRPO}, its objective`],
  ['algorithm.kl.coef', 0.04, GRPO],
  ['algorithm.kl.kind', 'k3', GRPO],
  ['algorithm.kl.in', 'loss', GRPO],
  ['rollout.n', 64, GRPO],
  ['rollout.prompts', 16, `${GRPO}: a batch of 1024, read as 16 prompts of 64 rollouts`],
  ['rollout.maxTokens', 1024, GRPO],
  ...unfiltered(`${GRPO} has no filtering`),
  ['train.updatePrompts', 16, `${GRPO}: one update after every batch of rollouts`],
  ['train.learningRate', 1e-6, GRPO],
];

const DAPO = 'arXiv:2503.14476';
export const dapo: PresetValue[] = [
  ['algorithm.name', 'grpo', DAPO],
  ['algorithm.std', 'sample', `over n or n − 1 is unknown in ${DAPO}; verl, which it is built on, takes n − 1`],
  ['algorithm.loss', 'ppo', DAPO],
  ['algorithm.clipRange.low', 0.2, `${DAPO}, clip-higher`],
  ['algorithm.clipRange.high', 0.28, `${DAPO}, clip-higher`],
  ['algorithm.clipRange.dual', 0, `${DAPO}, whose objective has no such bound`],
  ['algorithm.aggregation', 'token-mean', `${DAPO}, token-level loss`],
  ['algorithm.kl.coef', 0, `${DAPO}: no KL term`],
  [
    'algorithm.overlong.factor',
    0.5,
    `${DAPO}, soft overlong punishment: 1 where answers earn ±1, so half where they earn 0 or 1`,
  ],
  ['algorithm.overlong.buffer', 4096, DAPO],
  ['rollout.prompts', 512, DAPO],
  ['rollout.n', 16, DAPO],
  ['rollout.maxTokens', 20480, `${DAPO}: 16384 and the buffer of 4096`],
  ['rollout.filter.low', 0, `${DAPO}, dynamic sampling`],
  ['rollout.filter.high', 1, `${DAPO}, dynamic sampling`],
  ['rewards.formatWeight', 0, `${DAPO}: the answer alone is graded`],
  ['train.updatePrompts', 32, `${DAPO}: 16 updates for every batch of rollouts`],
  ['train.learningRate', 1e-6, DAPO],
  ['train.warmupSteps', 320, `${DAPO}: 20 batches of rollouts`],
  ['train.decay', 'constant', DAPO],
];

const DR_GRPO = 'arXiv:2503.20783';
export const drGrpo: PresetValue[] = [
  ['algorithm.name', 'dr-grpo', DR_GRPO],
  ['algorithm.loss', 'ppo', DR_GRPO],
  ['algorithm.clipRange.low', 0.2, PPO],
  ['algorithm.clipRange.high', 0.2, PPO],
  ['algorithm.clipRange.dual', 0, `${DR_GRPO}, whose objective has no such bound`],
  ['algorithm.aggregation', 'seq-mean-token-sum-norm', `${DR_GRPO}: a sum over tokens, divided by a constant`],
  ['algorithm.divideByRows', true, `${DR_GRPO}: a mean over responses; verl does not divide`],
  ['algorithm.kl.coef', 0, `${DR_GRPO}: no KL term`],
  ['rollout.n', 8, DR_GRPO],
  ['rollout.maxTokens', 3000, DR_GRPO],
  ...unfiltered(`${DR_GRPO} has no filtering`),
  ['train.learningRate', 1e-6, DR_GRPO],
  ['train.decay', 'constant', DR_GRPO],
];

const ONE_THINKER = 'the released code of arXiv:2512.03043 (OneThinker)';
export const emaGrpo: PresetValue[] = [
  ['algorithm.name', 'ema-grpo', 'arXiv:2512.03043'],
  ['algorithm.decay', 0.99, ONE_THINKER],
  ['algorithm.minStd', 1e-3, ONE_THINKER],
  ['algorithm.epsilon', 1e-6, ONE_THINKER],
  ['algorithm.guard', 5, ONE_THINKER],
  ...ppo(`${ONE_THINKER}, where it is EasyR1’s default`),
  ['algorithm.kl.coef', 0, ONE_THINKER],
  ['data.tags.think', 'think', ONE_THINKER],
  ['rollout.prompts', 128, ONE_THINKER],
  ['rollout.n', 8, ONE_THINKER],
  ['rollout.maxTokens', 4096, ONE_THINKER],
  ['rollout.filter.low', 0.01, ONE_THINKER],
  ['rollout.filter.high', 0.99, ONE_THINKER],
  ['rewards.formatWeight', 0.1, ONE_THINKER],
  ['train.updatePrompts', 32, ONE_THINKER],
  ['train.learningRate', 2e-6, ONE_THINKER],
];

const GSPO = 'arXiv:2507.18071';
export const gspo: PresetValue[] = [
  ['algorithm.name', 'grpo', GSPO],
  ['algorithm.std', 'sample', `over n or n − 1 is unknown in ${GSPO}; verl and EasyR1 take n − 1`],
  ['algorithm.loss', 'gspo', GSPO],
  ['algorithm.clipRange.low', 3e-4, GSPO],
  ['algorithm.clipRange.high', 4e-4, GSPO],
  ['algorithm.clipRange.dual', 0, `${GSPO} has no such bound, nor has verl; EasyR1 adds one`],
  ['algorithm.aggregation', 'seq-mean-token-mean', `${GSPO}: responses weigh the same`],
  ['algorithm.kl.coef', 0, `its objective is written without one; whether there was one is unknown in ${GSPO}`],
  ['rollout.prompts', 512, 'unknown; decision: as the paper of g2rpo'],
  ['train.updatePrompts', 128, `${GSPO}: four mini-batches for every batch of rollouts`],
  ...unfiltered(`${GSPO} has no filtering`),
];
