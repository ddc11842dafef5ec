import { headPolicyLoss } from '../../lib/kernels/head.ts';
import { randoms } from '../../tests/support/testKernel.ts';
import { benchKernel } from '../support/benchKernel.ts';

const f32 = (x: Float64Array, factor = 1) => Float32Array.from(x, (v) => v * factor);

/** The pass that training makes; head and headBackward are parts of it. */
export default () =>
  benchKernel(headPolicyLoss, {
    sizes: [
      { N: 200, H: 128, V: 384 },
      { N: 6000, H: 128, V: 384 },
      { N: 6000, H: 128, V: 1024 },
      { N: 512, H: 1024, V: 8192 },
      { N: 64, H: 1024, V: 151_936 },
    ],
    generate: ({ N, H, V }) => ({
      hidden: f32(randoms(1, N!, H!)),
      weight: f32(randoms(2, V!, H!), 1 / Math.sqrt(H!)),
      targets: Int32Array.from(randoms(3, N!), (x) => Math.floor(((x + 1) / 2) * V!)),
      oldLogProbs: f32(randoms(4, N!)).map((x) => x - Math.log(V!)),
      advantages: f32(randoms(5, N!)),
      weights: new Float32Array(N!).fill(1 / N!),
      logProbSlopes: new Float32Array(N!),
      entropySlopes: new Float32Array(N!),
      dWeight: new Float32Array(V! * H!),
    }),
  });
