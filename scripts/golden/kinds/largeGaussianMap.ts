import { defineKind } from '../kind.ts';
import { gaussian } from './gaussianMap.ts';

interface Generator {
  seed: string;
  n: number;
  floor_mul: number;
}

/** x ← (6364136223846793005·x + 1442695040888963407) mod 2⁶⁴, updated first; (x ≫ 11) / 2⁵³, floored to multiples if asked. */
function generated({ seed, n, floor_mul }: Generator): number[] {
  let x = BigInt(seed);
  return Array.from({ length: n }, () => {
    x = BigInt.asUintN(64, 6364136223846793005n * x + 1442695040888963407n);
    const u = Number(x >> 11n) / 2 ** 53;
    return floor_mul > 0 ? Math.floor(u * floor_mul) : u;
  });
}

const sum = (values: Float64Array): number => values.reduce((a, b) => a + b, 0);

export const largeGaussianMap = defineKind<{ lcg: Generator }>({
  name: 'gaussian map of generated values',
  inputs: ['lcg'],
  async compute({ lcg }, { real, expected }) {
    const values = generated(lcg);
    const scores = await gaussian(real === 'f32' ? values.map(Math.fround) : values);
    const { index } = (expected['at'] ?? { index: [] }) as { index: number[] };
    return {
      sum: sum(scores),
      mean_square: sum(scores.map((x) => x * x)) / scores.length,
      min: scores.reduce((a, b) => Math.min(a, b)),
      max: scores.reduce((a, b) => Math.max(a, b)),
      n_distinct: new Set(scores).size,
      at: { index, score: index.map((i) => scores[i]) },
    };
  },
});
