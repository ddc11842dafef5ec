import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { KL_KINDS, POLICY_LOSS_KINDS, weightedLossReference } from '../../../lib/kernels/policyLoss.ts';
import { Policy, type PolicyBatch, type Reals, type Recompute } from '../../../lib/model/qwen3vl/policy.ts';
import type { TokenLoss } from '../../../lib/types.ts';
import { expectFiniteDifferences } from '../../support/finiteDifferences.ts';
import { mixedBatch, wavyLoss } from '../../support/mixedBatch.ts';
import { rejectionOf } from '../../support/thrown.ts';
import { writeGoldenCheckpoint, writeNanoMoe } from '../../support/syntheticCheckpoint.ts';

let policy: Policy;
let batch: PolicyBatch;
/** Tests of this policy, in f64. */
function withPolicy(write: () => Promise<string>): void {
  beforeAll(async () => {
    policy = await Policy.load(await write(), { dtype: 'f64' });
    batch = mixedBatch('nano', ['batch4', 'mixed'], policy.config);
  });
  afterAll(() => policy.dispose());
}

/** Lists as long as the batch has targets, each with its own waves. */
const waves = (frequency: number, size = 1) =>
  Float64Array.from({ length: batch.targetIds.length }, (_, i) => size * Math.sin(frequency * i + 1));

/** A loss in everything that an algorithm can ask for, around log-probabilities that the policy has. */
const losses = {
  'reinforce with slopes of the entropy': () => ({
    kind: 'reinforce' as const,
    oldLogProbs: waves(0),
    tau: { positive: 1, negative: 1 },
  }),
  'sapo with k3 and slopes of the log-probabilities': (logProbs: Reals) => ({
    kind: 'sapo' as const,
    oldLogProbs: waves(5, 0.4).map((x, i) => logProbs[i]! + x),
    tau: { positive: 1.2, negative: 0.7 },
    kl: {
      kind: 'k3' as const,
      refLogProbs: waves(7).map((x, i) => logProbs[i]! + x),
      weights: waves(11, 1 / batch.targetIds.length),
    },
    logProbSlopes: waves(13, 1 / batch.targetIds.length),
  }),
};

describe.each<[string, () => Promise<string>]>([
  ['dense', () => writeGoldenCheckpoint('nano')],
  ['experts', () => writeNanoMoe()],
  ['experts whose weights do not sum to 1', () => writeNanoMoe({ norm_topk_prob: false })],
])('%s', (_, write) => {
  withPolicy(write);
  it.each(Object.entries(losses))('finite differences hold for every parameter tensor, in f64: %s', async (_, make) => {
    const { logProbs } = await policy.forward(batch, { temperature: 0.9 });
    const loss: TokenLoss<Reals> = { ...wavyLoss(batch), ...make(logProbs) };
    const args = {
      ...loss,
      kind: POLICY_LOSS_KINDS[loss.kind],
      tauPositive: loss.tau!.positive,
      tauNegative: loss.tau!.negative,
      klKind: KL_KINDS[loss.kl?.kind ?? 'none'],
      refLogProbs: loss.kl?.refLogProbs ?? [],
      klWeights: loss.kl?.weights ?? [],
    };
    const objective = async () => {
      const { logProbs, entropy } = await policy.forward(batch, { temperature: 0.9 });
      return Array.from(logProbs).reduce(
        (s, l, i) =>
          s +
          weightedLossReference(i, l, args).loss +
          (loss.logProbSlopes?.[i] ?? 0) * l +
          loss.entropySlopes[i]! * entropy[i]!,
        0,
      );
    };
    policy.zeroGradients();
    const scores = await policy.forwardBackward(batch, loss, { temperature: 0.9 });
    scores.logProbs.forEach((l, i) =>
      expect(Math.abs(scores.loss[i]! - weightedLossReference(i, l, args).loss)).toBeLessThan(1e-12),
    );
    await expectFiniteDifferences(policy, objective);
  });

  it('what the backward pass computes again has the bits of what it would have kept', async () => {
    const loss = wavyLoss(batch);
    const gradients = async (recompute: Recompute) => {
      policy.zeroGradients();
      await policy.forwardBackward(batch, loss, { recompute });
      return Promise.all(policy.trained.map(({ gradient }) => gradient!.read()));
    };
    const kept = await gradients('none');
    expect((await rejectionOf(gradients('partial' as Recompute))).message).toBe(
      'recompute must be none, selective or full; got partial',
    );
    for (const recompute of ['selective', 'full'] as const)
      (await gradients(recompute)).forEach((g, i) => expect(g, policy.trained[i]!.name).toEqual(kept[i]));
  });
});

describe('a loss', () => {
  withPolicy(() => writeGoldenCheckpoint('nano'));
  it('refuses lists of another length and kinds that it does not know', async () => {
    const n = batch.targetIds.length;
    const list = () => new Float64Array(n);
    const good: TokenLoss<Reals> = {
      kind: 'cispo',
      oldLogProbs: list(),
      advantages: list(),
      weights: list(),
      entropySlopes: list(),
      logProbSlopes: list(),
      clipLow: 1,
      clipHigh: 4,
      clipDual: 0,
      kl: { kind: 'k3+', refLogProbs: list(), weights: list() },
    };
    await expect(policy.forwardBackward(batch, good)).resolves.toBeDefined();
    const short = new Float64Array(n - 1);
    const code = 'INVALID_ARGUMENT';
    for (const wrong of [
      { oldLogProbs: short },
      { logProbSlopes: short },
      { logProbSlopes: new Float64Array(0) },
      { kl: { ...good.kl!, refLogProbs: short } },
      { kl: { ...good.kl!, weights: short } },
    ])
      await expect(policy.forwardBackward(batch, { ...good, ...wrong })).rejects.toMatchObject({
        code,
        message: 'batch: every list of the loss must hold one entry per target',
      });
    await expect(policy.forwardBackward(batch, { ...good, kind: 'gspo' as never })).rejects.toMatchObject({
      code,
      message: 'loss.kind must be one of reinforce, ppo, cispo, sapo; got gspo',
    });
    const unknown = { ...good, kl: { ...good.kl!, kind: 'k4' as never } };
    await expect(policy.forwardBackward(batch, unknown)).rejects.toMatchObject({
      code,
      message: 'loss.klKind must be one of none, k1, abs, k2, k3, k3+; got k4',
    });
    await expect(policy.forwardBackward(batch, { ...good, tau: { positive: 0, negative: 1 } })).rejects.toMatchObject({
      code,
      message: 'head_policy_loss: tauPositive must be positive and finite; got 0',
    });
  });
});
