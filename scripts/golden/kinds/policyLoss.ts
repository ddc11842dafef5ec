import { policyLoss as ours, type PolicyLossSettings } from '../../../lib/index.ts';
import { defineKind, reals } from '../kind.ts';
import { packed, padded, tokenStarts, type Rows } from '../padded.ts';

interface Inputs {
  loss: string;
  params: Record<string, number>;
  log_probs: Rows;
  old_log_probs: Rows;
  advantages: Rows;
  mask: Rows;
  aggregation: string;
  is_weights?: Rows;
}

/** Parameters of a loss by the names of files, as settings of ours; a file names all that are in force. */
export function lossSettings(params: Record<string, number>): PolicyLossSettings {
  const { clip_low, clip_high, clip_dual = 0, tau_pos, tau_neg, ...others } = params;
  const strange = Object.keys(others);
  if (strange.length > 0) throw new Error(`params has ${strange.join(', ')}, which we do not know`);
  return {
    clipRange: {
      ...(clip_low !== undefined && { low: clip_low }),
      ...(clip_high !== undefined && { high: clip_high }),
      dual: clip_dual,
    },
    tau: {
      ...(tau_pos !== undefined && { positive: tau_pos }),
      ...(tau_neg !== undefined && { negative: tau_neg }),
    },
  };
}

export const policyLoss = defineKind<Inputs>({
  name: 'policy loss',
  inputs: ['loss', 'params', 'log_probs', 'old_log_probs', 'advantages', 'mask', 'aggregation'],
  optional: ['is_weights'],
  async compute(inputs, { real }) {
    const { mask, is_weights } = inputs;
    const list = (rows: Rows) => reals(packed(rows, mask), real);
    const { loss, perToken, dLogProbs } = await ours(
      {
        logProbs: list(inputs.log_probs),
        oldLogProbs: list(inputs.old_log_probs),
        advantages: list(inputs.advantages),
        tokenStarts: tokenStarts(mask),
        ...(is_weights && { importanceWeights: list(is_weights) }),
      },
      {
        ...lossSettings(inputs.params),
        loss: inputs.loss.replaceAll('_', '-') as 'ppo',
        aggregation: inputs.aggregation as 'token-mean',
        lengthNormaliser: mask[0]!.length,
      },
      'take', // ratios far beyond every bound are made with log-probabilities that no token has
    );
    return { loss, per_token: padded(perToken, mask, 0), grad_log_probs: padded(dLogProbs, mask, 0) };
  },
});
