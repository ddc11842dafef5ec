import { head, headPolicyLoss } from '../../lib/kernels/head.ts';
import type { Dims } from '../../lib/kernels/defineKernel.ts';
import { toBf16 } from '../../lib/runtime/bf16.ts';
import { randoms } from '../../tests/support/testKernel.ts';
import { benchKernel } from '../support/benchKernel.ts';

/** Not by `from` with a function, which makes a list of a hundred million numbers first. */
const f32 = (x: Float64Array, factor = 1) => new Float32Array(x).map((v) => v * factor);

const inputs = ({ N, H, V }: Dims) => ({
  hidden: f32(randoms(1, N!, H!)),
  weight: f32(randoms(2, V!, H!), 1 / Math.sqrt(H!)),
  targets: Int32Array.from(randoms(3, N!), (x) => Math.floor(((x + 1) / 2) * V!)),
});
const large = [
  { N: 64, H: 1024, V: 151_936 },
  { N: 512, H: 256, V: 151_936 },
  { N: 512, H: 1024, V: 151_936 },
];

/** The pass that log-probabilities alone take, and the one that training makes; headBackward is a part of the latter. */
export default async () => {
  await benchKernel(head, { sizes: [{ N: 6000, H: 128, V: 384 }, ...large], generate: inputs });
  await benchKernel(head, {
    sizes: large,
    generate(dims) {
      const wide = inputs(dims);
      return { ...wide, weight: toBf16(wide.weight) };
    },
  });
  await benchKernel(headPolicyLoss, {
    sizes: [
      { N: 200, H: 128, V: 384 },
      { N: 6000, H: 128, V: 384 },
      { N: 6000, H: 128, V: 1024 },
      { N: 512, H: 1024, V: 8192 },
      ...large,
    ],
    generate: ({ N, H, V }) => ({
      ...inputs({ N: N!, H: H!, V: V! }),
      oldLogProbs: f32(randoms(4, N!)).map((x) => x - Math.log(V!)),
      advantages: f32(randoms(5, N!)),
      weights: new Float32Array(N!).fill(1 / N!),
      logProbSlopes: new Float32Array(N!),
      entropySlopes: new Float32Array(N!),
      dWeight: new Float32Array(V! * H!),
    }),
  });
};
