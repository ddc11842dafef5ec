import { describe, expect, it } from 'vitest';
import { adamw } from '../../lib/kernels/adamw.ts';
import { fromBf16, toBf16 } from '../../lib/runtime/bf16.ts';
import { tensor } from '../../lib/runtime/tensor.ts';
import { createOptimizer, type OptimizerConfig } from '../../lib/train/optimizer.ts';
import { learningRateAt } from '../../lib/train/schedule.ts';

const config: OptimizerConfig = { betas: [0.9, 0.99], epsilon: 1e-8, weightDecay: 0.1, maxGradNorm: 1 };

const parameter = (name: string, shape: number[], weights: number[], gradients: number[]) => ({
  name,
  weight: tensor(Float64Array.from(weights), shape),
  gradient: tensor(Float64Array.from(gradients), shape),
});
const two = (scale = 1) => [
  parameter('a', [2, 2], [1, -2, 3, 0.5], [0.3 * scale, -0.4 * scale, 0, 1.2 * scale]),
  parameter('b', [1], [4], [-0.5 * scale]),
];
const read = (list: ReturnType<typeof two>) => Promise.all(list.map(({ weight }) => weight.read()));

/** What AdamW's reference makes of the same parameters over some updates, gradients multiplied by `scale`. */
function reference(
  list: { weights: number[]; gradients: number[] }[],
  learningRates: number[],
  scale: number,
): Float64Array[] {
  return list.map(({ weights, gradients }) => {
    const arrays = {
      gradients: [Float64Array.from(gradients)],
      parameters: [Float64Array.from(weights)],
      firstMoments: [new Float64Array(weights.length)],
      secondMoments: [new Float64Array(weights.length)],
    };
    learningRates.forEach((learningRate, k) =>
      adamw.declaration.reference(
        {
          ...arrays,
          learningRate,
          beta1: 0.9,
          beta2: 0.99,
          epsilon: 1e-8,
          weightDecay: 0.1,
          step: k + 1,
          gradientScale: scale,
          firstPlace: 0,
          firstElement: 0,
          dims: {},
        },
        {},
      ),
    );
    return arrays.parameters[0]!;
  });
}
const flat = [
  { weights: [1, -2, 3, 0.5], gradients: [0.3, -0.4, 0, 1.2] },
  { weights: [4], gradients: [-0.5] },
];
const norm = Math.sqrt(0.09 + 0.16 + 1.44 + 0.25);

describe('an update', () => {
  it.each([
    ['shortens a long gradient to the largest norm', 1, 1 / norm],
    ['leaves a short one', 2, 1],
    ['leaves all of them for 0', 0, 1],
  ])('%s', async (_, maxGradNorm, scale) => {
    const list = two();
    const optimizer = createOptimizer(list, { ...config, maxGradNorm });
    for (const learningRate of [0.1, 0.05]) {
      const { gradNorm, skipped } = await optimizer.step(learningRate);
      expect(gradNorm).toBeCloseTo(norm, 12);
      expect(skipped).toBe(false);
    }
    const wanted = reference(flat, [0.1, 0.05], scale);
    (await read(list)).forEach((weights, p) => weights.forEach((w, i) => expect(w).toBeCloseTo(wanted[p]![i]!, 12)));
    expect(optimizer.updates).toBe(2);
  });

  it.each([Number.NaN, Infinity])('with a gradient of %s changes nothing and is not counted', async (bad) => {
    const list = two();
    const optimizer = createOptimizer(list, config);
    await optimizer.step(0.1);
    const before = await read(list);
    const moments = await optimizer.state[0]!.tensor.read();
    list[1]!.gradient.write(Float64Array.of(bad));
    expect(await optimizer.step(0.1)).toMatchObject({ skipped: true });
    expect(await read(list)).toEqual(before);
    expect(await optimizer.state[0]!.tensor.read()).toEqual(moments);
    expect(optimizer.updates).toBe(1);
  });
});

describe('moments of 8 bits', () => {
  it('take two bytes and a scale for 256, and bring the parameters to the same place', async () => {
    const goal = Float32Array.from({ length: 600 }, (_, i) => Math.sin(i));
    const ends: number[] = [];
    for (const kind of ['adamw', 'adamw8bit'] as const) {
      const [weight, gradient] = [tensor(new Float32Array(600)), tensor(new Float32Array(600))];
      const settings = { ...config, optimizer: kind, maxGradNorm: 0, weightDecay: 0 };
      let followed = 0;
      const optimizer = createOptimizer([{ name: 'x', weight, gradient }], settings, { onUpdate: () => followed++ });
      const bytes = optimizer.state.reduce((n, { tensor: t }) => n + t.size * (t.dtype === 'u8' ? 1 : 4), 0);
      expect(bytes).toBe(kind === 'adamw' ? 4800 : 1200 + 2 * 4 * 3);
      expect(optimizer.state.map(({ name }) => name).slice(0, 2)).toEqual(['x.first', 'x.second']);
      for (let step = 0; step < 150; step++) {
        const w = await weight.read();
        gradient.write(Float32Array.from(w, (v, i) => 10 ** (i % 3) * (v - goal[i]!)));
        await optimizer.step(0.05 * (1 - step / 150));
      }
      expect(followed).toBe(150);
      ends.push((await weight.read()).reduce((sum, v, i) => sum + (v - goal[i]!) ** 2, 0) / 600);
    }
    expect(ends[0]).toBeLessThan(1e-4);
    expect(ends[1]).toBeLessThan(2e-4);
  });
});

describe('weights in bf16', () => {
  const n = 3000;
  /** Updates under a gradient of 1, each a hundredth of the distance of neighbours. */
  async function descend(settings: Partial<OptimizerConfig>, steps = 60) {
    const weight = tensor(toBf16(new Float32Array(n).fill(0.75)));
    const other = tensor(new Float32Array(1));
    const gradient = tensor(new Float32Array(n).fill(1));
    const list = [
      { name: 'b', weight: other, gradient: tensor(Float32Array.of(1)) },
      { name: 'w', weight, gradient },
    ];
    const optimizer = createOptimizer(list, { ...config, ...settings, maxGradNorm: 0, weightDecay: 0 });
    for (let step = 0; step < steps; step++) await optimizer.step(2 ** -8 / 100);
    const values = fromBf16(await weight.read());
    return { values, optimizer, mean: values.reduce((sum, x) => sum + x, 0) / n, other: (await other.read())[0]! };
  }
  const goal = 0.75 - (60 * 2 ** -8) / 100;

  it.each(['adamw', 'adamw8bit'] as const)('%s moves them in the mean, rounded at random', async (optimizer) => {
    const { values, mean, other, optimizer: made } = await descend({ optimizer });
    expect(values.every((x) => Number.isInteger((0.75 - x) * 2 ** 8))).toBe(true);
    expect(Math.abs(mean - goal)).toBeLessThan(4 * 2 ** -8 * Math.sqrt(0.6 / n)); // of 60 chances of a hundredth
    expect(other).toBeCloseTo(goal - 0.75, 6); // in f32, beside them
    expect(made.state.map(({ name }) => name).filter((name) => name.endsWith('.first'))).toEqual([
      'b.first',
      'w.first',
    ]);
    expect(made.state.some(({ tensor: each }) => each.dtype === 'bf16')).toBe(false);
    expect((await descend({ optimizer })).values).toEqual(values);
  });

  it.each(['adamw', 'adamw8bit'] as const)('%s with masters follows them to the nearest', async (kind) => {
    const { values, optimizer } = await descend({ optimizer: kind, masterWeights: true });
    const master = (await optimizer.state.find(({ name }) => name === 'w.master')!.tensor.read()) as Float32Array;
    expect(optimizer.state.map(({ name }) => name).filter((name) => /master$/.test(name))).toEqual(['w.master']);
    for (const x of [0, 1, n - 1]) expect(master[x]).toBeCloseTo(goal, 5);
    expect(new Set(values)).toEqual(new Set([0.75 - 2 ** -8]));
    expect(optimizer.moved.map(({ dtype }) => dtype)).toEqual(['f32', 'f32']);
  });
});

describe('the learning rate', () => {
  const schedule = { learningRate: 2, warmupSteps: 4, decay: 'constant' as const, finalShare: 0.1 };
  const rates = (changes: object, steps: number[]) =>
    steps.map((step) => learningRateAt(step, 12, { ...schedule, ...changes }));

  it('rises evenly over the warm-up, and then stays, falls evenly, or along a cosine', () => {
    expect(rates({}, [1, 2, 3, 4, 5, 12])).toEqual([0.5, 1, 1.5, 2, 2, 2]);
    expect(rates({ decay: 'linear' }, [2, 4, 8, 12, 13])).toEqual([1, 2, 2 * 0.55, 0.2, 0.2]);
    const cosine = rates({ decay: 'cosine', finalShare: 0 }, [4, 8, 12]);
    [2, 1, 0].forEach((wanted, i) => expect(cosine[i]).toBeCloseTo(wanted, 12));
  });

  it('is whole from the first update without a warm-up', () => {
    expect(rates({ warmupSteps: 0 }, [1])).toEqual([2]);
    expect(learningRateAt(3, 2, { ...schedule, warmupSteps: 2, decay: 'linear' })).toBe(2);
  });
});
