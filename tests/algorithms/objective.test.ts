import { describe, expect, it } from 'vitest';
import { createAlgorithm, klTerms, type MiniBatch } from '../../lib/index.ts';
import { rejectionOf, thrownBy } from '../support/thrown.ts';

const mini: MiniBatch = {
  shapingTaskIds: Int32Array.of(0, 1),
  shapingTaskNames: ['ocr', 'math_reasoning'],
  tokenStarts: Int32Array.of(0, 3, 4),
  advantages: Float64Array.of(0.5, 0.5, 0.5, -0.5),
  oldLogProbs: Float32Array.of(-1, -2, -3, -4),
};
const scores = () =>
  Promise.resolve({ logProbs: Float32Array.of(-1.1, -2, -3, -4), entropy: Float32Array.of(0.1, 0.1, 0.1, 2) });
const never = (): never => {
  throw new Error('no scores are needed');
};
const batch = {
  rewards: Float64Array.of(1, 0),
  groupIds: Int32Array.of(0, 0),
  taskIds: Int32Array.of(0, 0),
  tokenStarts: mini.tokenStarts,
};

describe('prepare', () => {
  it('gives every token its advantage and the same weight, and asks the policy nothing', async () => {
    const { loss } = await createAlgorithm({ clipRange: { low: 0.1, high: 0.4, dual: 0 } }).prepare(mini, never);
    expect(loss).toMatchObject({
      kind: 'ppo',
      clipLow: 0.1,
      clipHigh: 0.4,
      clipDual: 0,
      oldLogProbs: mini.oldLogProbs,
    });
    expect([...loss.advantages]).toEqual([0.5, 0.5, 0.5, -0.5]);
    expect([...loss.weights]).toEqual([0.25, 0.25, 0.25, 0.25]);
    expect([...loss.entropySlopes]).toEqual([0, 0, 0, 0]);
    expect(loss.kl).toBeUndefined();
  });

  it('clips as EasyR1 does by default', async () => {
    const { loss } = await createAlgorithm().prepare(mini, never);
    expect(loss).toMatchObject({ clipLow: 0.2, clipHigh: 0.3, clipDual: 3 });
  });

  it('pushes entropies into their bands, by the entropy or by the log-probability', async () => {
    const exact = await createAlgorithm({ entropyBand: { coef: 0.3 } }).prepare(mini, scores);
    expect([...exact.loss.entropySlopes].map((x) => x.toFixed(6))).toEqual([
      '-0.100000',
      '-0.100000',
      '-0.100000',
      '0.300000',
    ]);
    expect(exact.metrics['actor/entropy_penalty']).toBeCloseTo(0.1 + 1.4, 6);
    expect(exact.metrics).toMatchObject({ 'actor/entropy_slope/ocr': -1, 'actor/entropy_slope/math_reasoning': 1 });
    const nll = await createAlgorithm({ entropyBand: { coef: 0.3, estimator: 'sampled_nll' } }).prepare(mini, scores);
    expect([...nll.loss.logProbSlopes!].map((x) => x.toFixed(6))).toEqual([
      '-0.100000',
      '-0.100000',
      '-0.100000',
      '-0.300000',
    ]);
    expect([...nll.loss.entropySlopes]).toEqual([0, 0, 0, 0]);
  });

  it('has a KL term where it stands in the loss, and wants a reference', async () => {
    const algorithm = createAlgorithm({ kl: { coef: 0.2, kind: 'k2' } });
    expect(algorithm.needs.reference).toBe(true);
    const { loss } = await algorithm.prepare({ ...mini, refLogProbs: mini.oldLogProbs! }, never);
    expect(loss.kl).toMatchObject({ kind: 'k2', refLogProbs: mini.oldLogProbs });
    expect(loss.kl!.weights[0]).toBeCloseTo(0.05, 7);
    expect((await rejectionOf(algorithm.prepare(mini, never))).message).toContain(
      'refLogProbs are wanted by a KL term',
    );
  });
});

describe('a KL term in the reward', () => {
  const oldLogProbs = Float32Array.of(-1, -2, -3, -4);
  const refLogProbs = Float32Array.of(-1.5, -2, -3.25, -3);
  const own = klTerms('k1', oldLogProbs, refLogProbs).values;

  it('is taken off rewards by response', async () => {
    const algorithm = createAlgorithm({ name: 'dr-grpo', kl: { coef: 0.1, in: 'reward' } });
    const got = await algorithm.advantages({ ...batch, oldLogProbs, refLogProbs });
    const rewards = [1 - 0.1 * (own[0]! + own[1]! + own[2]!), 0 - 0.1 * own[3]!];
    const half = (rewards[0]! - rewards[1]!) / 2;
    [half, half, half, -half].forEach((wanted, i) => expect(got[i]).toBeCloseTo(wanted, 12));
  });

  it('adapts its coefficient, which is remembered', async () => {
    const settings = { name: 'grpo', kl: { coef: 0.1, in: 'reward', target: 0.01, horizon: 10 } };
    const algorithm = createAlgorithm(settings);
    await algorithm.advantages({ ...batch, oldLogProbs, refLogProbs });
    // the mean is below the target, so that the coefficient falls by the most that it may
    expect(algorithm.state()).toMatchObject({ estimator: null, klCoef: 0.1 * (1 - (0.2 * 2) / 10) });
    const other = createAlgorithm(settings);
    other.restore(JSON.parse(JSON.stringify(algorithm.state())));
    expect(other.state()).toEqual(algorithm.state());
  });

  it('is refused where components are compared', () => {
    const error = thrownBy(() => createAlgorithm({ name: 'gdpo', kl: { coef: 0.1, in: 'reward' } }));
    expect(error.message).toContain('algorithm.kl.in: must be loss');
  });
});

it('names of other systems are understood, others refused with the nearest', () => {
  expect(createAlgorithm({ name: 'gs_grpo' }).name).toBe('g2rpo');
  expect(thrownBy(() => createAlgorithm({ name: 'g2rp' })).message).toContain('did you mean g2rpo?');
  expect(thrownBy(() => createAlgorithm().restore({ moments: [] })).code).toBe('INVALID_CHECKPOINT');
});
