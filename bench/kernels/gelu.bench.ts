import { geluErf, geluErfBackward, geluTanh, geluTanhBackward } from '../../lib/kernels/gelu.ts';
import { randoms } from '../../tests/support/testKernel.ts';
import { benchKernel, type Peer } from '../support/benchKernel.ts';

const f32 = (seed: number, n: number) => Float32Array.from(randoms(seed, n), (v) => 4 * v);
const sizes = [
  { R: 100, I: 256 },
  { R: 1000, I: 4304 },
];

const typescript: Peer = {
  name: 'TypeScript',
  prepare({ x }) {
    const a = x as Float32Array;
    const y = new Float32Array(a.length);
    return () => {
      for (let i = 0; i < y.length; i++) {
        const v = a[i]!;
        y[i] = v / (1 + Math.exp(-1.5957691216057308 * v * (1 + 0.044715 * v * v)));
      }
    };
  },
};

export default async () => {
  const generate = ({ R, I }: Record<string, number>) => ({ x: f32(1, R! * I!) });
  const backward = ({ R, I }: Record<string, number>) => ({ x: f32(1, R! * I!), dY: f32(2, R! * I!) });
  await benchKernel(geluTanh, { sizes, generate, peers: [typescript] });
  await benchKernel(geluTanhBackward, { sizes, generate: backward });
  await benchKernel(geluErf, { sizes, generate });
  await benchKernel(geluErfBackward, { sizes, generate: backward });
};
