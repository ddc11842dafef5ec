import { roundBf16 } from '../../lib/kernels/roundBf16.ts';
import { randoms } from '../../tests/support/testKernel.ts';
import { benchKernel } from '../support/benchKernel.ts';

export default () =>
  benchKernel(roundBf16, {
    sizes: [{ N: 10_000 }, { N: 4_000_000 }],
    generate: ({ N }) => ({ values: [Float32Array.from(randoms(1, N!))], rounded: [new Uint16Array(N!)] }),
  });
