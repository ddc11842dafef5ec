import { KL_KINDS, POLICY_LOSS_KINDS, policyLossKernel } from '../../../lib/index.ts';
import { defineKind, reals } from '../kind.ts';

/** A KL term as a kernel computes it beside a policy loss of nothing. */
export const kl = defineKind<{ log_probs: number[]; ref_log_probs: number[] }>({
  name: 'kl terms',
  inputs: ['log_probs', 'ref_log_probs'],
  async compute({ log_probs, ref_log_probs }, { real }) {
    const list = (values: number[]) => reals(values, real);
    const zeros = list(log_probs.map(() => 0));
    const terms: Record<string, unknown> = {};
    for (const [name, klKind] of Object.entries(KL_KINDS)) {
      const { loss, dLogProbs } = policyLossKernel({
        logProbs: list(log_probs),
        oldLogProbs: zeros,
        advantages: zeros,
        weights: zeros,
        refLogProbs: list(ref_log_probs),
        klWeights: list(log_probs.map(() => 1)),
        klKind,
        kind: POLICY_LOSS_KINDS.reinforce,
      });
      terms[name] = { value: await loss.read(), grad_log_probs: await dLogProbs.read() };
    }
    return terms;
  },
});
