import { z } from 'zod';
import { KL_KINDS as KERNEL_KL_KINDS, POLICY_LOSS_KINDS, policyLoss as kernel } from '../../kernels/policyLoss.ts';
import { G2rpoError, wantOptions } from '../../runtime/errors.ts';
import {
  checkLogProbs,
  checkNumbers,
  checkTokenStarts,
  describe,
  isObject,
  refuse,
  typeOf,
  wantLength,
  wantOneOf,
  wantReals,
  type Reals,
} from '../arguments.ts';
import { settingsOf } from '../estimator.ts';
import { lossConfig } from '../losses/config.ts';
import { separableLoss } from '../losses/policyLoss.ts';

/** Tokens of a mini-batch, lists [N] of one type, all f32 or all f64. */
export interface PolicyLossInput<A extends Reals = Reals> {
  logProbs: A;
  oldLogProbs: A;
  advantages: A;
  /** [B+1] where each response begins; default: all tokens are of one response */
  tokenStarts?: Int32Array;
  /** as reported by the engine that sampled */
  rolloutLogProbs?: A;
  /** of the reference policy */
  refLogProbs?: A;
  /** multiply the policy loss of every token: a correction of your own, beside or instead of `rolloutCorrection` */
  importanceWeights?: A;
}

const lossSettings = z.strictObject(lossConfig);
export type PolicyLossSettings = z.input<typeof lossSettings>;

/**
 * A policy loss over a mini-batch, with its gradient.
 *
 * `perToken` is what each token adds before it is weighed, `weights` what weighs it, KL term and importance weights included;
 * `loss` is the sum of what they make, `dLogProbs` its gradient, of the type of the input.
 *
 * @param settings  as in a configuration: `{ loss: 'gspo', aggregation: 'seq-mean-token-mean', clipRange: { low: 3e-4 } }`
 * @param above0  a log-probability above 0, by more than rounding, is refused; `take` computes with it as it is: the logarithm of a
 *   density may be above 0
 * @throws INVALID_ARGUMENT, SHAPE_MISMATCH, DTYPE_MISMATCH
 * @throws NON_FINITE  a number of the input is NaN or infinite (a token of probability 0 cannot have been sampled), or so large that
 *   a token has no finite loss
 */
export async function policyLoss<A extends Reals>(
  input: PolicyLossInput<A>,
  settings: PolicyLossSettings = {},
  above0: 'refuse' | 'take' = 'refuse',
): Promise<{ loss: number; perToken: A; weights: A; dLogProbs: A; clipped: Int32Array }> {
  wantOneOf('policyLoss', 'above0', above0, ['refuse', 'take']);
  const config = settingsOf('policyLoss', lossSettings, settings);
  const given = ownLossInput(input, above0);
  const { logProbs } = given;
  const N = logProbs.length;
  const { tokenStarts = Int32Array.of(0, N) } = given;
  const klOn = config.kl.coef > 0 && config.kl.in === 'loss';
  if (klOn && !given.refLogProbs) refuse('policyLoss', 'refLogProbs', 'are wanted by a KL term', 'none');

  const lists = await separableLoss({ ...given, tokenStarts }, config, config.kl.coef, () => Promise.resolve(logProbs));
  const typed = (values: ArrayLike<number>) => typeOf(logProbs).from(values) as A;
  const run = (weights: ArrayLike<number>, klWeights: ArrayLike<number>) =>
    kernel.compute({
      logProbs: logProbs as never,
      oldLogProbs: typed(lists.oldLogProbs!) as never,
      advantages: typed(lists.advantages) as never,
      weights: typed(weights) as never,
      refLogProbs: typed(given.refLogProbs ?? new Float32Array(N)) as never,
      klWeights: typed(klWeights) as never,
      klKind: klOn ? KERNEL_KL_KINDS[config.kl.kind] : KERNEL_KL_KINDS.none,
      kind: POLICY_LOSS_KINDS[lists.kind],
      clipLow: lists.clipLow,
      clipHigh: lists.clipHigh,
      clipDual: lists.clipDual,
      tauPositive: lists.tau.positive,
      tauNegative: lists.tau.negative,
    });
  const [whole, bare] = await Promise.all([
    run(lists.weights, lists.klWeights ?? new Float64Array(N)),
    run(new Float64Array(N).fill(1), new Float64Array(N)),
  ]).catch((error: unknown) => {
    throw tooLarge(error);
  });
  let loss = 0;
  for (const each of whole.loss) loss += each;
  if (!Number.isFinite(loss)) throw tooLarge(loss);
  const { dLogProbs, clipped } = whole;
  return { loss, perToken: bare.loss as A, weights: typed(lists.weights), dLogProbs: dLogProbs as A, clipped };
}

const LISTS = ['logProbs', 'oldLogProbs', 'advantages', 'rolloutLogProbs', 'refLogProbs', 'importanceWeights'] as const;

/** Lists of our own: the caller may change its as soon as it goes on. @throws INVALID_ARGUMENT, SHAPE_MISMATCH, DTYPE_MISMATCH, NON_FINITE  naming the list and the token */
function ownLossInput<A extends Reals>(input: PolicyLossInput<A>, above0: 'refuse' | 'take'): PolicyLossInput<A> {
  if (!isObject(input))
    refuse('policyLoss', 'input', 'must hold logProbs, oldLogProbs and advantages', describe(input));
  wantOptions('policyLoss', 'input', input, [...LISTS, 'tokenStarts']);
  wantReals('policyLoss', 'logProbs', input.logProbs);
  const needed = ['logProbs', 'oldLogProbs', 'advantages'];
  const own = { ...input };
  for (const key of LISTS) {
    const list: unknown = input[key];
    if (list === undefined && !needed.includes(key)) continue;
    wantReals('policyLoss', key, list, input.logProbs);
    wantLength('policyLoss', key, list, input.logProbs.length);
    if (key === 'advantages' || key === 'importanceWeights') checkNumbers('policyLoss', key, list, true);
    else checkLogProbs('policyLoss', key, list, above0);
    own[key] = typeOf(input.logProbs).from(list) as A;
  }
  if (input.tokenStarts !== undefined) {
    checkTokenStarts('policyLoss', input.tokenStarts, input.logProbs.length);
    own.tokenStarts = input.tokenStarts.slice();
  }
  return own;
}

/** What is finite by itself, but whose loss is not. */
function tooLarge(cause: unknown): unknown {
  if (cause instanceof G2rpoError ? cause.code !== 'NON_FINITE' : cause instanceof Error) return cause;
  const wanted = 'must be so small that the loss is finite';
  const got = cause instanceof G2rpoError ? cause.message : String(cause);
  return new G2rpoError(
    'NON_FINITE',
    `policyLoss: advantages, weights and log-probabilities ${wanted}; got ${got}`,
    { argument: 'advantages', wanted, got },
    { cause },
  );
}
