import type { TokenLoss } from '../../types.ts';
import { refuse } from '../arguments.ts';
import { tokenWeights } from './aggregation.ts';
import { CLIP_RANGES, type LossConfig, type LossName } from './config.ts';
import { importanceWeights } from './rolloutCorrection.ts';
import { meanOverRows, sequenceProximal } from './sequenceRatio.ts';

/** What a policy loss is made of, lists [N]. */
export interface LossInput {
  /** [B+1] */
  tokenStarts: Int32Array;
  /** left out where the proximal policy is the one that is trained, as it is */
  oldLogProbs?: ArrayLike<number> | undefined;
  advantages: ArrayLike<number>;
  rolloutLogProbs?: ArrayLike<number> | undefined;
  refLogProbs?: ArrayLike<number> | undefined;
  /** multiply the loss of every token */
  importanceWeights?: ArrayLike<number> | undefined;
}

/** What a kernel is to compute, lists [N] in f64. */
export type TokenLossLists = Pick<TokenLoss, 'kind' | 'clipLow' | 'clipHigh' | 'clipDual'> & {
  tau: { positive: number; negative: number };
  oldLogProbs?: ArrayLike<number>;
  advantages: ArrayLike<number>;
  /** of the policy loss */
  weights: Float64Array;
  /** of the KL term; absent where there is none in the loss */
  klWeights?: Float64Array;
};

const KINDS: Record<LossName, TokenLoss['kind']> = {
  ppo: 'ppo',
  gspo: 'ppo',
  'gspo-token': 'ppo',
  cispo: 'cispo',
  sapo: 'sapo',
  reinforce: 'reinforce',
};

/**
 * A policy loss as one that is separable by token: everything it has to know of the whole mini-batch is in its lists. The ratio of
 * GSPO is that of a whole response, so it asks for the log-probabilities as they are now.
 *
 * @param klCoef  weight of the KL term, where it stands in the loss
 * @throws INVALID_ARGUMENT  log-probabilities that it needs are missing; gspo with a response whose tokens differ in their advantage
 */
export async function separableLoss(
  input: LossInput,
  config: LossConfig,
  klCoef: number,
  current: () => Promise<ArrayLike<number>>,
): Promise<TokenLossLists> {
  const { tokenStarts } = input;
  const { loss, rolloutCorrection, kl } = config;
  const plain = tokenWeights(tokenStarts, config);
  let weights = plain;
  if (rolloutCorrection.level !== 'none') {
    if (!input.rolloutLogProbs) refuse('policyLoss', 'rolloutLogProbs', 'are wanted by rolloutCorrection', 'none');
    const importance = importanceWeights(
      oldOf(input, 'rolloutCorrection'),
      input.rolloutLogProbs,
      tokenStarts,
      rolloutCorrection,
    );
    weights = plain.map((w, i) => w * importance[i]!);
  }
  if (input.importanceWeights) weights = weights.map((w, i) => w * input.importanceWeights![i]!);
  if (loss === 'gspo') wantOneEach(input.advantages, tokenStarts);
  const sequence = loss === 'gspo' || loss === 'gspo-token';
  const oldLogProbs = sequence ? sequenceProximal(await current(), oldOf(input, loss), tokenStarts) : input.oldLogProbs;
  const clip = { ...CLIP_RANGES[loss], ...config.clipRange };
  return {
    kind: KINDS[loss],
    clipLow: clip.low,
    clipHigh: clip.high,
    clipDual: clip.dual,
    tau: config.tau,
    ...(oldLogProbs && { oldLogProbs }),
    advantages: input.advantages,
    weights: loss === 'gspo' ? meanOverRows(weights, tokenStarts) : weights,
    ...(klCoef > 0 && kl.in === 'loss' && { klWeights: plain.map((w) => w * klCoef) }),
  };
}

const oldOf = ({ oldLogProbs }: LossInput, by: string): ArrayLike<number> =>
  oldLogProbs ?? refuse('policyLoss', 'oldLogProbs', `are wanted by ${by}`, 'none');

/** The loss of GSPO is that of a response, which has one advantage; `gspo-token` is for tokens with advantages of their own. */
function wantOneEach(advantages: ArrayLike<number>, tokenStarts: Int32Array): void {
  for (let b = 0; b + 1 < tokenStarts.length; b++)
    for (let i = tokenStarts[b]! + 1; i < tokenStarts[b + 1]!; i++)
      if (advantages[i] !== advantages[i - 1])
        refuse(
          'policyLoss',
          `advantages[${i}]`,
          'must be that of the other tokens of its response, for gspo (gspo-token takes any)',
          `${advantages[i]}, not ${advantages[i - 1]}`,
        );
}
