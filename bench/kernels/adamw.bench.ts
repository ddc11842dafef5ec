import { adamw } from '../../lib/kernels/adamw.ts';
import { toBf16 } from '../../lib/runtime/bf16.ts';
import { randoms } from '../../tests/support/testKernel.ts';
import { benchKernel } from '../support/benchKernel.ts';

const f32 = (seed: number, n: number) => Float32Array.from(randoms(seed, n));

const given = (tensors: number, N: number) => {
  const list = (seed: number) => Array.from({ length: tensors }, (_, k) => f32(seed + 10 * k, N / tensors));
  return {
    gradients: list(1),
    parameters: list(2),
    firstMoments: list(3),
    secondMoments: list(4).map((moment) => moment.map(Math.abs)),
    learningRate: 1e-6,
    weightDecay: 0.01,
    step: 10,
  };
};

/** Updates of so many tensors, which hold N numbers together. */
const benchOf = (tensors: number, sizes: { N: number }[]) =>
  benchKernel(adamw, {
    sizes,
    generate: ({ N }) => given(tensors, N!),
    peers: [
      {
        name: 'TypeScript',
        prepare({ gradients, parameters, firstMoments, secondMoments }) {
          const [g, p, m, v] = [gradients, parameters, firstMoments, secondMoments].map((list) =>
            (list as Float32Array[]).map((a) => a.slice()),
          );
          const [stepSize, root] = [1e-6 / (1 - 0.9 ** 10), 1 / Math.sqrt(1 - 0.999 ** 10)];
          return () => {
            g!.forEach((gradient, k) => {
              const [parameter, first, second] = [p![k]!, m![k]!, v![k]!];
              for (let i = 0; i < gradient.length; i++) {
                first[i] = 0.9 * first[i]! + 0.1 * gradient[i]!;
                second[i] = 0.999 * second[i]! + 0.001 * gradient[i]! * gradient[i]!;
                parameter[i] =
                  parameter[i]! * (1 - 1e-8) - (stepSize * first[i]!) / (Math.sqrt(second[i]!) * root + 1e-8);
              }
            });
          };
        },
      },
    ],
  });

export default async () => {
  await benchOf(1, [{ N: 10_000 }, { N: 3_000_000 }, { N: 16_777_216 }]);
  await benchKernel(adamw, {
    sizes: [{ N: 10_000 }, { N: 3_000_000 }],
    generate({ N }) {
      const wide = given(1, N!);
      return { ...wide, parameters: wide.parameters.map(toBf16) };
    },
  });
  console.log('the same of 400 tensors, as many as a policy may have:');
  await benchOf(400, [{ N: 3_000_000 }]);
};
