import { policyLoss, type PolicyLossSettings } from '../../../lib/index.ts';
import { defineKind, reals } from '../kind.ts';
import { packed, tokenStarts, type Rows } from '../padded.ts';

/** A sum of values as a policy loss makes it: reinforce with an advantage of −1 has the log-probability as the loss of a token. */
export const aggregation = defineKind<{ values: Rows; mask: Rows; C: number }>({
  name: 'aggregation',
  inputs: ['values', 'mask', 'C'],
  async compute({ values, mask, C }, { real }) {
    const list = reals(packed(values, mask), real);
    const input = { logProbs: list, oldLogProbs: list, advantages: list.map(() => -1), tokenStarts: tokenStarts(mask) };
    const by = async (
      aggregation: NonNullable<PolicyLossSettings['aggregation']>,
      lengthNormaliser = mask[0]!.length,
    ) => (await policyLoss(input, { loss: 'reinforce', aggregation, lengthNormaliser }, 'take')).loss;
    return {
      'token-mean': await by('token-mean'),
      'seq-mean-token-sum': await by('seq-mean-token-sum'),
      'seq-mean-token-mean': await by('seq-mean-token-mean'),
      'seq-mean-token-sum-norm': await by('seq-mean-token-sum-norm'),
      'seq-mean-token-sum-norm@C': await by('seq-mean-token-sum-norm', C),
      'easyr1-seq': await by('easyr1-seq'),
    };
  },
});
