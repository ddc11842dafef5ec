import { describe, expect, it } from 'vitest';
import { AGGREGATIONS } from '../../lib/algorithms/losses/aggregation.ts';
import { LOSSES } from '../../lib/algorithms/losses/config.ts';
import { KL_KINDS } from '../../lib/algorithms/losses/kl.ts';
import {
  importanceWeights,
  KL_KINDS as KERNEL_KINDS,
  klTerms,
  policyLoss,
  policyLossKernel,
  tokenWeights,
  type PolicyLossSettings,
} from '../../lib/index.ts';
import { randoms } from '../support/testKernel.ts';
import { rejectionOf } from '../support/thrown.ts';

const tokenStarts = Int32Array.of(0, 3, 3, 4, 9, 11); // one response has no tokens
const N = 11;
/** Ratios on both sides of every bound. */
function batch(seed: number, spread = 0.6) {
  const oldLogProbs = randoms(seed, N).map((x) => x - 4);
  const near = (offset: number, width: number) => randoms(seed + offset, N).map((x, i) => oldLogProbs[i]! + width * x);
  return {
    oldLogProbs,
    logProbs: near(1, spread),
    rolloutLogProbs: near(2, 0.9),
    refLogProbs: near(3, 0.7),
    importanceWeights: randoms(seed + 4, N).map((x) => x + 1.2),
    advantages: randoms(seed + 5, N).map((x) => 2 * x),
    tokenStarts,
  };
}
/** All tokens of a response get the advantage of its first. */
const perResponse = (advantages: Float64Array) => {
  const result = advantages.slice();
  for (let b = 0; b + 1 < tokenStarts.length; b++)
    if (tokenStarts[b]! < N) result.fill(advantages[tokenStarts[b]!]!, tokenStarts[b], tokenStarts[b + 1]);
  return result;
};

/** The losses whose value is not what their gradient is of hold something constant: the value is then that of a stand-in. */
describe('the gradient of a policy loss is that of finite differences', () => {
  const wide: PolicyLossSettings['clipRange'] = { low: 0.2, high: 0.3 };
  const variants: [string, PolicyLossSettings][] = [
    ...AGGREGATIONS.map((aggregation): [string, PolicyLossSettings] => [aggregation, { aggregation }]),
    ['by a constant and rows', { aggregation: 'seq-mean-token-sum-norm', lengthNormaliser: 7, divideByRows: true }],
    ...KL_KINDS.filter((kind) => kind !== 'k3+').map((kind): [string, PolicyLossSettings] => [
      kind,
      { kl: { coef: 0.3, kind } },
    ]),
    ['TIS by token', { rolloutCorrection: { level: 'token', cap: 1.5 } }],
    ['TIS by sequence, normalised', { rolloutCorrection: { level: 'sequence', normalise: true }, kl: { coef: 0.1 } }],
    ['the dual bound', { clipRange: { ...wide, dual: 1.2 } }],
  ];
  for (const loss of LOSSES.filter((name) => name !== 'cispo' && name !== 'gspo-token'))
    it.each(variants)(`${loss}, %s`, async (_, variant) => {
      const clipRange = loss === 'ppo' || loss === 'gspo' ? { clipRange: variant.clipRange ?? wide } : {};
      const settings: PolicyLossSettings = { ...variant, ...clipRange, loss };
      for (const seed of [1, 11]) {
        const input = batch(seed);
        if (loss === 'gspo') input.advantages = perResponse(input.advantages);
        const { dLogProbs } = await policyLoss(input, settings);
        const step = 1e-6;
        for (let i = 0; i < N; i++) {
          const at = async (move: number) =>
            (await policyLoss({ ...input, logProbs: input.logProbs.map((x, j) => (j === i ? x + move : x)) }, settings))
              .loss;
          const slope = ((await at(step)) - (await at(-step))) / (2 * step);
          // central differences of a smooth f64 function: h² of the third derivative, and 1e-16 / h of rounding
          expect(Math.abs(dLogProbs[i]! - slope), `token ${i} of seed ${seed}`).toBeLessThan(1e-8);
        }
      }
    });

  it('cispo: the slope of −c·A·logProb with c held', async () => {
    const input = batch(2, 2);
    const { dLogProbs, weights, perToken } = await policyLoss(input, {
      loss: 'cispo',
      clipRange: { low: 0.3, high: 0.4 },
    });
    dLogProbs.forEach((slope, i) => {
      const ratio = Math.min(Math.max(Math.exp(input.logProbs[i]! - input.oldLogProbs[i]!), 0.7), 1.4);
      expect(slope).toBeCloseTo(-weights[i]! * ratio * input.advantages[i]!, 12);
      expect(perToken[i]).toBeCloseTo(-ratio * input.advantages[i]! * input.logProbs[i]!, 12);
    });
  });

  it('gspo-token: −A·s of each token, with the value of gspo', async () => {
    const input = { ...batch(3), advantages: perResponse(batch(3).advantages) };
    const settings: PolicyLossSettings = { clipRange: { low: 1, high: 100 }, aggregation: 'seq-mean-token-sum' };
    const token = await policyLoss(input, { ...settings, loss: 'gspo-token' });
    const sequence = await policyLoss(input, { ...settings, loss: 'gspo' });
    expect(token.perToken).toEqual(sequence.perToken);
    for (let b = 0; b + 1 < tokenStarts.length; b++) {
      const rows = Array.from({ length: tokenStarts[b + 1]! - tokenStarts[b]! }, (_, t) => tokenStarts[b]! + t);
      const distance = rows.reduce((sum, i) => sum + input.logProbs[i]! - input.oldLogProbs[i]!, 0) / rows.length;
      for (const i of rows)
        expect(token.dLogProbs[i]).toBeCloseTo(-token.weights[i]! * input.advantages[i]! * Math.exp(distance), 12);
    }
    const own = await policyLoss(batch(3), { ...settings, loss: 'gspo-token' });
    expect(own.dLogProbs.every(Number.isFinite)).toBe(true);
  });

  it('k3+: the value of k3 with the slope of k2', async () => {
    const input = batch(4);
    const of = (kind: 'k2' | 'k3' | 'k3+') => policyLoss(input, { loss: 'reinforce', kl: { coef: 0.4, kind } });
    const [k2, k3, both] = [await of('k2'), await of('k3'), await of('k3+')];
    expect(both.loss).toBe(k3.loss);
    expect(both.dLogProbs).toEqual(k2.dLogProbs);
  });
});

it('KL terms for rewards are those of the kernel for losses', async () => {
  const logProbs = Float64Array.of(-1, -30, -1, -3.5, 0, -2);
  const refLogProbs = Float64Array.of(-1, -1, -30, -1, -14, -2.1);
  const [zeros, ones] = [new Float64Array(6), new Float64Array(6).fill(1)];
  for (const kind of KL_KINDS) {
    const { values, slopes } = klTerms(kind, logProbs, refLogProbs);
    const args = { logProbs, oldLogProbs: zeros, advantages: zeros, weights: zeros, refLogProbs, klWeights: ones };
    const { loss, dLogProbs } = policyLossKernel({ ...args, klKind: KERNEL_KINDS[kind], kind: 0 });
    (await loss.read()).forEach((x, i) => expect(x, kind).toBeCloseTo(values[i]!, 12));
    (await dLogProbs.read()).forEach((x, i) => expect(x, kind).toBeCloseTo(slopes[i]!, 12));
  }
});

describe('weights', () => {
  it('of a mean over tokens sum to one, and by response likewise', () => {
    const total = (aggregation: (typeof AGGREGATIONS)[number]) =>
      tokenWeights(tokenStarts, { aggregation }).reduce((a, b) => a + b, 0);
    expect(total('token-mean')).toBeCloseTo(1, 14);
    expect(total('seq-mean-token-mean')).toBeCloseTo(1, 14);
    expect(total('easyr1-seq')).toBeCloseTo(4 / 5, 14);
    expect(total('seq-mean-token-sum')).toBeCloseTo(11 / 4, 14);
    expect(total('seq-mean-token-sum-norm')).toBeCloseTo(11 / 5, 14);
    for (const aggregation of AGGREGATIONS) {
      expect(tokenWeights(Int32Array.of(0, 0), { aggregation })).toHaveLength(0);
      expect(tokenWeights(Int32Array.of(0), { aggregation })).toHaveLength(0);
    }
  });

  it('of importance are capped, and 1 where both engines agree', () => {
    const { oldLogProbs, rolloutLogProbs } = batch(6);
    const settings = { level: 'token', cap: 1.2, normalise: false } as const;
    const weights = importanceWeights(oldLogProbs, rolloutLogProbs, tokenStarts, settings);
    expect(Math.max(...weights)).toBe(1.2);
    expect([...importanceWeights(oldLogProbs, oldLogProbs, tokenStarts, settings)]).toEqual(new Array(N).fill(1));
    expect([...importanceWeights([0, 0], [-99, 99], Int32Array.of(0, 2), { ...settings, cap: 1e30 })]).toEqual([
      Math.exp(20),
      Math.exp(-20),
    ]);
  });

  it('of your own multiply the policy loss, and not the KL term', async () => {
    const { importanceWeights: own, ...input } = batch(7);
    const settings: PolicyLossSettings = { loss: 'ppo', kl: { coef: 0.2 } };
    const zero = await policyLoss({ ...input, importanceWeights: own.map(() => 0) }, settings);
    const { values } = klTerms('k3', input.logProbs, input.refLogProbs);
    expect(zero.loss).toBeCloseTo((0.2 * values.reduce((a, b) => a + b, 0)) / N, 12);
    expect((await policyLoss({ ...input, importanceWeights: own }, settings)).weights[2]).toBeCloseTo(own[2]! / N, 14);
  });
});

it('nothing is a loss of 0', async () => {
  const none = new Float32Array(0);
  expect(await policyLoss({ logProbs: none, oldLogProbs: none, advantages: none })).toMatchObject({ loss: 0 });
});

describe('what is refused', () => {
  const input = batch(8);
  const { logProbs, oldLogProbs, advantages } = input;
  const bare = { logProbs, oldLogProbs, advantages, tokenStarts };
  it.each([
    [{}, { los: 'ppo' }, 'INVALID_ARGUMENT', 'policyLoss: no setting los; did you mean loss?'],
    [{}, { loss: 'gspoo' }, 'INVALID_ARGUMENT', 'policyLoss: loss: '],
    [{}, { clipRange: { low: 1.5 } }, 'INVALID_ARGUMENT', 'policyLoss: clipRange.low: '],
    [{}, { clipRange: { dual: 0.5 } }, 'INVALID_ARGUMENT', 'policyLoss: clipRange.dual: must be 0 or above 1'],
    [{}, { tau: { positive: 0 } }, 'INVALID_ARGUMENT', 'policyLoss: tau.positive: '],
    [{}, { kl: { coef: 1 } }, 'INVALID_ARGUMENT', 'policyLoss: refLogProbs are wanted by a KL term; got none'],
    [{}, { rolloutCorrection: { level: 'token' } }, 'INVALID_ARGUMENT', 'rolloutLogProbs are wanted by'],
    [{}, { loss: 'gspo' }, 'INVALID_ARGUMENT', 'must be that of the other tokens of its response, for gspo'],
    [{ advantages: new Float64Array(2) }, {}, 'SHAPE_MISMATCH', 'policyLoss: advantages must have 11 elements; got 2'],
    [{ oldLogProbs: new Float32Array(N) }, {}, 'DTYPE_MISMATCH', 'oldLogProbs must be a Float64Array, as logProbs is'],
    [{ tokenStarts: Int32Array.of(0, 3, 12) }, {}, 'INVALID_ARGUMENT', 'tokens (11); got 12 at the end'],
    [{ tokenStarts: Int32Array.of(0, 5, 4, 11) }, {}, 'INVALID_ARGUMENT', 'tokens (11); got 4 at 2'],
    [
      { importanceWeights: new Float64Array(N).fill(Number.NaN) },
      {},
      'NON_FINITE',
      'importanceWeights[0] must be finite',
    ],
    [{ advantages: new Float64Array(N).fill(Infinity) }, {}, 'NON_FINITE', ''],
  ])('%j %j', async (other, settings, code, message) => {
    const error = await rejectionOf(policyLoss({ ...bare, ...other } as typeof bare, settings as PolicyLossSettings));
    expect(error.code).toBe(code);
    expect(error.message).toContain(message);
  });
});
