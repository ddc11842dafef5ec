import { head, headBackward, tensor, zeros } from '../../../lib/index.ts';
import type { Real } from '../case.ts';
import { defineKind, reals } from '../kind.ts';
import { rowsOf, type Rows } from '../padded.ts';

/** Logits [N][V] as the hidden states of a head whose weight is the identity: gradients by hidden states are gradients by logits. */
export function identityHead(logits: Rows, labels: readonly number[], real: Real) {
  const [N, V] = [logits.length, logits[0]?.length ?? 0];
  const eye = Float64Array.from({ length: V * V }, (_, i) => Number(i % (V + 1) === 0));
  return {
    hidden: tensor(reals(logits.flat(), real), [N, V]),
    weight: tensor(reals(eye, real), [V, V]),
    targets: Int32Array.from(labels),
  };
}

/** What the head says of tokens, and what slopes by it are by the logits. */
export async function scoresOf(logits: Rows, labels: readonly number[], temperature: number, real: Real) {
  const args = { ...identityHead(logits, labels, real), temperature };
  const { logProbs, entropy, logSumExp } = head(args);
  return {
    logProbs: await logProbs.read(),
    entropy: await entropy.read(),
    async gradient(slopes: { byLogProbs?: ArrayLike<number>; byEntropy?: ArrayLike<number> }): Promise<Rows> {
      const list = (values: ArrayLike<number> = labels.map(() => 0)) => reals(values, real);
      const dWeight = zeros(real, args.weight.shape);
      const [dLogProbs, dEntropy] = [list(slopes.byLogProbs), list(slopes.byEntropy)];
      const { dHidden } = headBackward({ ...args, dLogProbs, dEntropy, logSumExp, entropy, dWeight });
      return rowsOf(await dHidden.read(), args.weight.shape[0]!);
    },
  };
}

export const logits = defineKind<{ logits: Rows; labels: number[]; temperature: number }>({
  name: 'log-probabilities and entropies',
  inputs: ['logits', 'labels', 'temperature'],
  async compute({ logits, labels, temperature }, { real }) {
    const scores = await scoresOf(logits, labels, temperature, real);
    const ones = labels.map(() => 1);
    return {
      log_prob: scores.logProbs,
      entropy: scores.entropy,
      grad_log_prob: await scores.gradient({ byLogProbs: ones }),
      grad_entropy: await scores.gradient({ byEntropy: ones }),
    };
  },
});
