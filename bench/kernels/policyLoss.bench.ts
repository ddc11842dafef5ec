import { KL_KINDS, POLICY_LOSS_KINDS, policyLoss } from '../../lib/kernels/policyLoss.ts';
import type { Dims } from '../../lib/kernels/signature.ts';
import { randoms } from '../../tests/support/testKernel.ts';
import { benchKernel } from '../support/benchKernel.ts';

const f32 = (x: Float64Array) => Float32Array.from(x);

/** `kind` and `klKind` stand in the sizes, so that the table shows them. */
const generate = ({ N, kind = POLICY_LOSS_KINDS.ppo, klKind = KL_KINDS.none }: Dims) => {
  const oldLogProbs = randoms(1, N!).map((x) => x - 1.5);
  return {
    logProbs: f32(randoms(2, N!).map((x, i) => oldLogProbs[i]! + 0.4 * x)),
    oldLogProbs: f32(oldLogProbs),
    advantages: f32(randoms(3, N!)),
    weights: new Float32Array(N!).fill(1 / N!),
    refLogProbs: f32(randoms(4, N!).map((x, i) => oldLogProbs[i]! + 0.4 * x)),
    klWeights: new Float32Array(N!).fill(1 / N!),
    clipDual: 3,
    kind,
    klKind,
  };
};

export default async () => {
  await benchKernel(policyLoss, {
    sizes: [{ N: 6000 }, { N: 131_072 }],
    generate,
    peers: [
      {
        name: 'TypeScript',
        prepare({ logProbs, oldLogProbs, advantages, weights }) {
          const [x, old, a, w] = [logProbs, oldLogProbs, advantages, weights] as Float32Array[];
          const n = x!.length;
          const [loss, slope, clipped] = [new Float32Array(n), new Float32Array(n), new Int32Array(n)];
          return () => {
            for (let i = 0; i < n; i++) {
              const d = x![i]! - old![i]!;
              const ratio = Math.exp(d > 20 ? 20 : d < -20 ? -20 : d);
              const open = -a![i]! * ratio;
              const cut = -a![i]! * (ratio < 0.8 ? 0.8 : ratio > 1.2 ? 1.2 : ratio);
              const bound = a![i]! < 0 ? -a![i]! * 3 : Infinity;
              const l = open < cut ? cut : open;
              clipped[i] = l > bound ? 2 : open < cut ? 1 : 0;
              loss[i] = w![i]! * (l > bound ? bound : l);
              slope[i] = clipped[i] || d > 20 || d < -20 ? 0 : w![i]! * open;
            }
          };
        },
      },
    ],
  });
  const { cispo, sapo, ppo } = POLICY_LOSS_KINDS;
  await benchKernel(policyLoss, {
    sizes: [
      { N: 6000, kind: cispo },
      { N: 6000, kind: sapo },
      { N: 6000, kind: ppo, klKind: KL_KINDS.k3 },
    ],
    generate,
  });
};
