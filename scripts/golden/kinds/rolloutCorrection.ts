import { importanceWeights } from '../../../lib/index.ts';
import { defineKind, reals } from '../kind.ts';
import { packed, padded, tokenStarts, type Rows } from '../padded.ts';

interface Inputs {
  old_log_probs: Rows;
  rollout_log_probs: Rows;
  mask: Rows;
  threshold: number;
}

export const rolloutCorrection = defineKind<Inputs>({
  name: 'truncated importance weights',
  inputs: ['old_log_probs', 'rollout_log_probs', 'mask', 'threshold'],
  compute({ old_log_probs, rollout_log_probs, mask, threshold }, { real }) {
    const list = (rows: Rows) => reals(packed(rows, mask), real);
    const by = (level: 'token' | 'sequence', normalise = false) => {
      const settings = { level, cap: threshold, normalise };
      const weights = importanceWeights(list(old_log_probs), list(rollout_log_probs), tokenStarts(mask), settings);
      return padded(weights, mask, 0);
    };
    return { token: by('token'), sequence: by('sequence'), token_batch_normalised: by('token', true) };
  },
});
