import { head, headPolicyLoss } from '../../lib/kernels/head.ts';
import type { Dims } from '../../lib/kernels/defineKernel.ts';
import { linear, linearBackwardInput, linearBackwardWeight } from '../../lib/kernels/linear.ts';
import { toBf16 } from '../../lib/runtime/bf16.ts';
import { tensor, type TypedArray } from '../../lib/runtime/tensor.ts';
import { randoms } from '../../tests/support/testKernel.ts';
import { benchKernel, type Peer } from '../support/benchKernel.ts';

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

/** What the matrix products of the pass take, with logits in memory: that of the logits, or with both of their gradients. */
const products = (name: string, training: boolean): Peer => ({
  name,
  prepare(args, { N, H, V }, scope) {
    const give = (values: unknown, ...shape: number[]) => tensor(values as TypedArray, shape, scope);
    const [x, weight] = [give(args['hidden'], N!, H!), give(args['weight'], V!, H!)];
    if (!training) return { seconds: (count) => linear.time({ x, weight }, count) };
    const [dY, dWeight] = [give(new Float32Array(N! * V!), N!, V!), give(new Float32Array(V! * H!), V!, H!)];
    return {
      seconds: async (count) =>
        (await linear.time({ x, weight }, count)) +
        (await linearBackwardInput.time({ dY, weight }, count)) +
        (await linearBackwardWeight.time({ dY, x, dWeight }, count)),
    };
  },
});
const inBf16 = <G extends { weight: Float32Array }>(given: G) => ({ ...given, weight: toBf16(given.weight) });

/** The pass that log-probabilities alone take, and the one that training makes; headBackward is a part of the latter. */
export default async () => {
  const peers = [products('its product', false)];
  await benchKernel(head, { sizes: [{ N: 6000, H: 128, V: 384 }, ...large], generate: inputs, peers });
  await benchKernel(head, { sizes: large, generate: (dims) => inBf16(inputs(dims)), peers });
  const training = {
    peers: [products('its products', true)],
    sizes: [
      { N: 200, H: 128, V: 384 },
      { N: 6000, H: 128, V: 384 },
      { N: 6000, H: 128, V: 1024 },
      { N: 512, H: 1024, V: 8192 },
      ...large,
    ],
    generate: ({ N, H, V }: Dims) => ({
      ...inputs({ N: N!, H: H!, V: V! }),
      oldLogProbs: f32(randoms(4, N!)).map((x) => x - Math.log(V!)),
      advantages: f32(randoms(5, N!)),
      weights: new Float32Array(N!).fill(1 / N!),
      logProbSlopes: new Float32Array(N!),
      entropySlopes: new Float32Array(N!),
      dWeight: new Float32Array(V! * H!),
    }),
  };
  await benchKernel(headPolicyLoss, training);
  await benchKernel(headPolicyLoss, { ...training, sizes: large, generate: (dims) => inBf16(training.generate(dims)) });
};
