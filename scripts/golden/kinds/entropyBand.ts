import { entropyBand as ours } from '../../../lib/index.ts';
import { defineKind } from '../kind.ts';
import { packed, padded, tokenStarts, type Rows } from '../padded.ts';
import { scoresOf } from './logits.ts';

export type Bands = Record<string, [min: number, max: number]>;
export const bandsOf = (bands: Bands) =>
  Object.fromEntries(Object.entries(bands).map(([task, [min, max]]) => [task, { min, max }]));

interface Inputs {
  logits: Rows<number[]>;
  labels: Rows;
  mask: Rows;
  task: string[];
  bands: Bands;
  coef: number;
}

export const entropyBand = defineKind<Inputs>({
  name: 'entropy band',
  inputs: ['logits', 'labels', 'mask', 'task', 'bands', 'coef'],
  async compute({ logits, labels, mask, task, bands, coef }, { real }) {
    const scores = await scoresOf(packed(logits, mask), packed(labels, mask), 1, real);
    const nothing = new Array<number>(logits[0]![0]!.length).fill(0);
    const input = { tasks: task, tokenStarts: tokenStarts(mask) };
    const outcome = async (entropy: Float32Array | Float64Array, slopesBy: 'byEntropy' | 'byLogProbs') => {
      const plain = ours({ ...input, entropy }, bandsOf(bands));
      const weighted = ours({ ...input, entropy }, bandsOf(bands), coef);
      const sign = slopesBy === 'byEntropy' ? 1 : -1; // −log-probability falls where log-probability rises
      const gradient = await scores.gradient({ [slopesBy]: weighted.dEntropy.map((slope) => sign * slope) });
      return {
        per_task: new Map(
          Object.entries(plain.tasks).map(([name, { entropy, penalty }]) => [name, { H: entropy, penalty }]),
        ),
        penalty: plain.penalty,
        weighted: weighted.penalty,
        grad_logits_weighted: padded(gradient, mask, nothing),
        reference_code_value_with_absent_tasks: ours({ ...input, entropy }, bandsOf(bands), 1, 'count').penalty,
      };
    };
    return {
      exact: await outcome(scores.entropy, 'byEntropy'),
      sampled_nll: await outcome(scores.logProbs.map((v) => -v) as Float64Array, 'byLogProbs'),
    };
  },
});
