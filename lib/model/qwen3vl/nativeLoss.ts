import { wantList, wantObject } from '../../runtime/errors.ts';
import type { TokenLoss } from '../../types.ts';
import type { Reals } from './sampler.ts';

/**
 * A loss as the native side reads it, over N tokens: lists in the policy's own type, empty where there is none.
 *
 * @throws INVALID_ARGUMENT  no loss, or one without its lists
 */
export function nativeLoss(loss: TokenLoss<Reals>, N: number, dtype: 'f32' | 'f64'): object {
  wantObject('loss', 'loss', loss);
  const { kind, kl, clipLow, clipHigh, clipDual, tau = { positive: 1, negative: 1.05 } } = loss;
  wantObject('loss', 'tau', tau);
  if (kl !== undefined) wantObject('loss', 'kl', kl);
  const reals = (name: string, list: Reals) => {
    wantList('loss', name, list);
    return dtype === 'f64' ? Float64Array.from(list) : Float32Array.from(list);
  };
  const none = new Float32Array();
  return {
    ...{ kind, clipLow, clipHigh, clipDual, tauPositive: tau.positive, tauNegative: tau.negative },
    klKind: kl?.kind ?? 'none',
    oldLogProbs: reals('oldLogProbs', loss.oldLogProbs ?? none),
    advantages: reals('advantages', loss.advantages),
    weights: reals('weights', loss.weights),
    entropySlopes: reals('entropySlopes', loss.entropySlopes),
    logProbSlopes: reals('logProbSlopes', loss.logProbSlopes ?? new Float32Array(N)),
    refLogProbs: reals('kl.refLogProbs', kl?.refLogProbs ?? none),
    klWeights: reals('kl.weights', kl?.weights ?? none),
  };
}
