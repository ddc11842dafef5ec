import { squaredNorm } from '../../lib/kernels/squaredNorm.ts';
import { randoms } from '../../tests/support/testKernel.ts';
import { benchKernel } from '../support/benchKernel.ts';

export default () =>
  benchKernel(squaredNorm, {
    sizes: [{ N: 10_000 }, { N: 6_000_000 }],
    generate: ({ N }) => ({ x: [Float32Array.from(randoms(1, N!))] }),
    peers: [
      {
        name: 'TypeScript',
        prepare({ x }) {
          const [a] = x as [Float32Array];
          let total = 0;
          return () => {
            total = 0;
            for (let i = 0; i < a.length; i++) total += a[i]! * a[i]!;
            if (!(total >= 0)) throw new RangeError('a sum of squares is not negative');
          };
        },
      },
    ],
  });
