import {
  advantages,
  entropyBand,
  head,
  headPolicyLoss,
  POLICY_LOSS_KINDS,
  tokenWeights,
  zeros,
} from '../../../lib/index.ts';
import { defineKind, reals } from '../kind.ts';
import { packed, padded, rowsOf, tokenStarts, type Rows } from '../padded.ts';
import { bandsOf, type Bands } from './entropyBand.ts';
import { identityHead } from './logits.ts';
import { lossSettings } from './policyLoss.ts';

interface Inputs {
  rewards: number[];
  group: string[];
  task: string[];
  logits: Rows<number[]>;
  labels: Rows;
  mask: Rows;
  old_log_probs: Rows;
  clip: Record<string, number>;
  bands: Bands;
  entropy_coef: number;
  advantage_mode: string;
  aggregation: string;
}

/** An update as training makes it: the loss and both slopes go through the fused head at once. */
export const endToEnd = defineKind<Inputs>({
  name: 'end to end',
  inputs: [
    ...(['rewards', 'group', 'task', 'logits', 'labels', 'mask', 'old_log_probs'] as const),
    ...(['clip', 'bands', 'entropy_coef', 'advantage_mode', 'aggregation'] as const),
  ],
  async compute(inputs, { real }) {
    const { rewards, group, task, mask, entropy_coef: coef } = inputs;
    const starts = tokenStarts(mask);
    const list = (values: ArrayLike<number>) => reals(values, real);
    const advantage = await advantages(
      'g2rpo',
      { rewards, groups: group, tasks: task },
      { mode: inputs.advantage_mode },
    );
    const model = identityHead(packed(inputs.logits, mask), packed(inputs.labels, mask), real);
    const scores = head(model);
    const [entropy, logProbs] = [await scores.entropy.read(), await scores.logProbs.read()];
    const nothing = new Array<number>(model.weight.shape[0]!).fill(0);
    const none = entropy.map(() => 0);
    const { clipRange = {} } = lossSettings(inputs.clip);
    const perToken = mask.flatMap((row, b) => row.filter((m) => m !== 0).map(() => advantage[b]!));

    const update = async (penalty: number, slopes: { entropySlopes: typeof none; logProbSlopes: typeof none }) => {
      const { loss, dHidden } = headPolicyLoss({
        ...model,
        ...slopes,
        oldLogProbs: list(packed(inputs.old_log_probs, mask)),
        advantages: list(perToken),
        weights: list(
          tokenWeights(starts, { aggregation: inputs.aggregation as 'token-mean', lengthNormaliser: mask[0]!.length }),
        ),
        dWeight: zeros(real, model.weight.shape),
        kind: POLICY_LOSS_KINDS.ppo,
        clipLow: clipRange.low!,
        clipHigh: clipRange.high!,
        clipDual: clipRange.dual!,
      });
      const policyLoss = Float64Array.from(await loss.read()).reduce((a, b) => a + b, 0);
      const gradient = padded(rowsOf(await dHidden.read(), nothing.length), mask, nothing);
      const shaped = { entropy_penalty: penalty, total: policyLoss + coef * penalty, grad_logits: gradient };
      return { policyLoss, shaped };
    };

    const band = (values: Float32Array | Float64Array) =>
      entropyBand({ entropy: values, tasks: task, tokenStarts: starts }, bandsOf(inputs.bands));
    const exact = band(entropy);
    const sampled = band(logProbs.map((v) => -v) as Float64Array);
    const byEntropy = { entropySlopes: list(exact.dEntropy.map((s) => coef * s)), logProbSlopes: none };
    const byLogProbs = { entropySlopes: none, logProbSlopes: list(sampled.dEntropy.map((s) => -coef * s)) };
    const { policyLoss, shaped } = await update(exact.penalty, byEntropy);
    const { shaped: nll } = await update(sampled.penalty, byLogProbs);
    return { advantage, policy_loss: policyLoss, exact: shaped, sampled_nll: nll };
  },
});
