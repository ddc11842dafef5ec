import { adamw } from '../../lib/kernels/adamw.ts';
import { randoms } from '../../tests/support/testKernel.ts';
import { benchKernel } from '../support/benchKernel.ts';

const f32 = (seed: number, n: number) => Float32Array.from(randoms(seed, n));

export default () =>
  benchKernel(adamw, {
    sizes: [{ N: 10_000 }, { N: 3_000_000 }, { N: 16_777_216 }],
    generate: ({ N }) => ({
      gradient: f32(1, N!),
      parameter: f32(2, N!),
      firstMoment: f32(3, N!),
      secondMoment: f32(4, N!).map(Math.abs),
      learningRate: 1e-6,
      weightDecay: 0.01,
      step: 10,
    }),
    peers: [
      {
        name: 'TypeScript',
        prepare({ gradient, parameter, firstMoment, secondMoment }) {
          const g = gradient as Float32Array;
          const [p, m, v] = [parameter, firstMoment, secondMoment].map((a) => (a as Float32Array).slice());
          const [stepSize, root] = [1e-6 / (1 - 0.9 ** 10), 1 / Math.sqrt(1 - 0.999 ** 10)];
          return () => {
            for (let i = 0; i < g.length; i++) {
              m![i] = 0.9 * m![i]! + 0.1 * g[i]!;
              v![i] = 0.999 * v![i]! + 0.001 * g[i]! * g[i]!;
              p![i] = p![i]! * (1 - 1e-8) - (stepSize * m![i]!) / (Math.sqrt(v![i]!) * root + 1e-8);
            }
          };
        },
      },
    ],
  });
