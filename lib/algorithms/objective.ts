import { z } from 'zod';
import { G2rpoError } from '../runtime/errors.ts';
import type { Algorithm, CurrentScores, Estimator, MiniBatch, PreparedLoss } from './algorithm.ts';
import { lossConfig } from './losses/config.ts';
import { adaptedCoefficient, klTerms } from './losses/kl.ts';
import { separableLoss } from './losses/policyLoss.ts';
import { calibrationConfig, createCalibration } from './shaping/calibration.ts';
import { entropyBandConfig, entropyPenalty } from './shaping/entropyBand.ts';
import {
  lengthOf,
  lengthRewardConfig,
  overlongConfig,
  overlongPenalty,
  trapezoid,
  withLength,
} from './shaping/lengthReward.ts';
import { overTokens } from './tokens.ts';

/** The part of a configuration that all objectives share. */
export const objectiveConfig = {
  ...lossConfig,
  entropyBand: entropyBandConfig,
  lengthReward: lengthRewardConfig,
  overlong: overlongConfig,
  calibration: calibrationConfig,
};
export type ObjectiveConfig = z.output<z.ZodObject<typeof objectiveConfig>>;

const stateOf = z.strictObject({ estimator: z.unknown(), klCoef: z.number().min(0), calibration: z.unknown() });

/**
 * An objective of a way to compare rollouts, a policy loss, and shaping.
 *
 *   L = L_policy(A) + β·KL + λ·Σ_τ max(0, H_τ − max_τ) + max(0, min_τ − H_τ)
 *
 * @source arXiv:2604.08539, final objective
 */
export function createObjective(estimator: Estimator, config: ObjectiveConfig): Algorithm {
  const { kl, entropyBand, lengthReward, overlong } = config;
  let klCoef = kl.coef;
  const calibration = createCalibration(config.calibration, config);
  const sequence = config.loss === 'gspo' || config.loss === 'gspo-token';

  return {
    name: estimator.name,
    needs: {
      reference: kl.coef > 0,
      scores: kl.coef > 0 || sequence || entropyBand.coef > 0 || config.rolloutCorrection.level !== 'none',
      greedy: estimator.needs.includes('greedyRewards'),
    },

    shape(rollout, { maxTokens }) {
      const score = trapezoid(lengthOf(rollout, lengthReward.unit), calibration.thresholdsOf(rollout.prompt.taskType));
      const reward = withLength(rollout.reward, score, lengthReward);
      if (overlong.factor === 0) return reward;
      const penalty = overlongPenalty(rollout.tokens.length, maxTokens, overlong.buffer);
      return { ...reward, overall: reward.overall + overlong.factor * penalty };
    },

    async advantages({ oldLogProbs, refLogProbs, ...batch }) {
      const tokens = batch.tokenStarts.at(-1) ?? 0;
      let compared = batch;
      if (kl.coef > 0) {
        if (!oldLogProbs || !refLogProbs) throw missing(estimator.name, 'oldLogProbs and refLogProbs', 'a KL term');
        const { values } = klTerms('k1', oldLogProbs, refLogProbs);
        if (kl.in === 'reward')
          compared = penalised(
            batch,
            values.map((v) => klCoef * v),
          );
        const mean = tokens === 0 ? 0 : values.reduce((a, b) => a + b, 0) / tokens;
        klCoef = adaptedCoefficient(klCoef, mean, batch.rewards.length, kl);
      }
      const advantages = await estimator.advantages(compared);
      return estimator.over === 'tokens' ? advantages : overTokens(advantages, batch.tokenStarts);
    },

    async prepare(mini, scores) {
      const asked = sequence || entropyBand.coef > 0 ? await scores() : undefined;
      const { oldLogProbs, ...lists } = await separableLoss(mini, config, klCoef, () =>
        Promise.resolve(asked!.logProbs),
      );
      if (lists.klWeights && !mini.refLogProbs) throw missing(estimator.name, 'refLogProbs', 'a KL term');
      const shaped = entropyBand.coef > 0 ? shapedEntropy(mini, asked!) : undefined;
      return {
        loss: {
          ...lists,
          ...(oldLogProbs && { oldLogProbs: Float32Array.from(oldLogProbs) }),
          advantages: Float32Array.from(lists.advantages),
          weights: Float32Array.from(lists.weights),
          entropySlopes: shaped?.entropySlopes ?? new Float32Array(mini.advantages.length),
          ...(shaped?.logProbSlopes && { logProbSlopes: shaped.logProbSlopes }),
          ...(lists.klWeights && {
            kl: { kind: kl.kind, refLogProbs: mini.refLogProbs!, weights: Float32Array.from(lists.klWeights) },
          }),
        },
        metrics: {
          ...(kl.coef > 0 && { 'actor/kl_coef': klCoef }),
          ...shaped?.metrics,
          ...calibration.metrics([...new Set(mini.shapingTaskIds)].map((id) => taskOf(mini, id))),
        },
      } satisfies PreparedLoss;
    },

    observe: (batch) => calibration.observe(batch),

    state: () => ({ estimator: estimator.state(), klCoef, calibration: calibration.state() }),
    restore(state) {
      const parsed = stateOf.safeParse(state);
      if (!parsed.success)
        throw new G2rpoError(
          'INVALID_CHECKPOINT',
          `${estimator.name}: the state must hold estimator, klCoef and calibration; got ${JSON.stringify(state)}`,
        );
      estimator.restore(parsed.data.estimator);
      calibration.restore(parsed.data.calibration);
      klCoef = parsed.data.klCoef;
    },
  };

  /** The KL term taken off the rewards: by token for an estimator that looks at tokens, else by rollout. */
  function penalised<B extends { rewards: Float64Array; tokenStarts: Int32Array }>(
    batch: B,
    penalties: Float64Array,
  ): B {
    if (estimator.penalties === 'own') return { ...batch, tokenPenalties: penalties };
    const { tokenStarts } = batch;
    const rewards = batch.rewards.map((r, b) => {
      for (let i = tokenStarts[b]!; i < tokenStarts[b + 1]!; i++) r -= penalties[i]!;
      return r;
    });
    return { ...batch, rewards };
  }

  function shapedEntropy(mini: MiniBatch, scores: CurrentScores) {
    const { coef, estimator: of } = entropyBand;
    const values = of === 'exact' ? scores.entropy : scores.logProbs.map((v) => -v);
    const name = (id: number) => taskOf(mini, id);
    const bandOf = (id: number) => calibration.bandOf(name(id));
    const { penalty, slopes, tasks } = entropyPenalty(values, mini.shapingTaskIds, mini.tokenStarts, bandOf);
    // −log-probability falls where log-probability rises
    const weighted = (sign: 1 | -1) => Float32Array.from(slopes, (slope) => sign * coef * slope);
    return {
      entropySlopes: of === 'exact' ? weighted(1) : new Float32Array(slopes.length),
      logProbSlopes: of === 'exact' ? undefined : weighted(-1),
      metrics: {
        'actor/entropy_penalty': penalty,
        ...Object.fromEntries([...tasks].map(([id, task]) => [`actor/entropy_slope/${name(id)}`, task.slope])),
      },
    };
  }
}

const taskOf = ({ shapingTaskNames }: MiniBatch, id: number): string => shapingTaskNames[id] ?? 'other';

const missing = (name: string, what: string, why: string) =>
  new G2rpoError('INVALID_ARGUMENT', `${name}: ${what} are wanted by ${why}; got none`, { argument: what });
