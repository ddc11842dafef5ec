import { describe, expect, it } from 'vitest';
import { adamw } from '../../lib/kernels/adamw.ts';
import { adamw8bit } from '../../lib/kernels/adamw8bit.ts';
import { sameForAnyThreads } from '../support/sameForAnyThreads.ts';
import { randoms, runKernel, testKernel, type Case } from '../support/testKernel.ts';

const zeros = (sizes: number[]) => sizes.map((n) => new Float64Array(n));
const blocks = (sizes: number[]) => sizes.map((n) => Math.ceil(n / 256));
const fresh = (sizes: number[], more: Case = {}): Case => ({
  gradients: sizes.map((n, k) => randoms(1 + k, n)),
  parameters: sizes.map((n, k) => randoms(20 + k, n)),
  firstCodes: zeros(sizes),
  secondCodes: zeros(sizes),
  firstScales: zeros(blocks(sizes)),
  secondScales: zeros(blocks(sizes)),
  learningRate: 1e-3,
  step: 1,
  ...more,
});
/** Moments that have been there for a while. */
const held = (sizes: number[], more: Case = {}): Case =>
  fresh(sizes, {
    firstCodes: sizes.map((n, k) =>
      randoms(40 + k, n).map((x) => Math.floor(127.99 * Math.abs(x)) + (x < 0 ? 128 : 0)),
    ),
    secondCodes: sizes.map((n, k) => randoms(60 + k, n).map((x) => 100 + Math.floor(155.99 * Math.abs(x)))),
    firstScales: blocks(sizes).map((n, k) => randoms(80 + k, n).map(Math.abs)),
    secondScales: blocks(sizes).map((n, k) => randoms(90 + k, n).map(Math.abs)),
    step: 7,
    ...more,
  });

testKernel(adamw8bit, {
  cases: {
    'the first step': fresh([300], { weightDecay: 0.1 }),
    'moments that were there': held([700], { beta1: 0.8, beta2: 0.95, epsilon: 1e-3, gradientScale: 0.5 }),
    'several tensors, one of them empty': held([17, 0, 20_000, 1]),
    'no tensor': fresh([]),
    'gradients of 0 leave moments of 0': fresh([5], { gradients: [[0, 0, 0, 0, 0]] }),
    'a gradient beside which all others are nothing': fresh([4], { gradients: [[1e4, 1e-9, -1e-9, 0]] }),
  },
  tolerance: { f32: 1e-6, f64: 1e-7 }, // a few roundings; scales are f32 in both, and no code of these cases is so near a border
});
sameForAnyThreads(adamw8bit, held([50_001, 3, 40_000]));
sameForAnyThreads(adamw8bit, held([50_001, 3, 40_000]), 'bf16');

it.each(['f32', 'bf16'] as const)(
  'a piece of a tensor, behind others, is rounded as in the whole: %s',
  async (dtype) => {
    const whole = held([300, 2000]);
    const all = await runKernel(adamw8bit, whole, dtype);
    const cut = (key: string, list: ArrayLike<number>) => Array.from(list).slice(key.endsWith('Scales') ? 4 : 1024);
    const piece = Object.fromEntries(
      Object.entries(whole).map(([key, value]) => [key, Array.isArray(value) ? [cut(key, value[1]!)] : value]),
    );
    const got = await runKernel(adamw8bit, { ...piece, firstPlace: 1, firstElement: 1024 } as Case, dtype);
    for (const [key, values] of Object.entries(got))
      expect(Array.from(values), key).toEqual(Array.from(all[key]!).slice(key.endsWith('Scales') ? 2 + 4 : 300 + 1024));
  },
);

it('what it refuses', async () => {
  await expect(runKernel(adamw8bit, fresh([2], { step: 0 }), 'f32')).rejects.toThrow('step must be at least 1');
  await expect(runKernel(adamw8bit, fresh([2], { beta2: 1 }), 'f32')).rejects.toThrow('must be in [0, 1)');
  await expect(
    runKernel(adamw8bit, fresh([600], { firstScales: [[0, 0]], secondScales: [[0, 0]] }), 'f32'),
  ).rejects.toThrow('firstScales must hold one number for every 256 elements of each tensor');
});

/** Updates of one tensor under gradients of some function of the parameters; returns the parameters at the end. */
async function descend(
  kernel: 'adamw' | 'adamw8bit',
  n: number,
  steps: number,
  gradientOf: (p: Float32Array, step: number) => Float64Array<ArrayBuffer>,
  settings: Case,
) {
  let state: Case = {
    ...fresh([n], { parameters: [new Float64Array(n)] }),
    ...(kernel === 'adamw' && { firstMoments: zeros([n]), secondMoments: zeros([n]) }),
  };
  for (let step = 1; step <= steps; step++) {
    const p = Float32Array.from((state['parameters'] as readonly Float64Array[])[0]!);
    const given = { ...state, gradients: [gradientOf(p, step)], step, ...settings };
    const next = await runKernel(kernel === 'adamw' ? adamw : adamw8bit, given, 'f32');
    state = { ...state, ...Object.fromEntries(Object.entries(next).map(([name, values]) => [name, [values]])) };
  }
  return { parameters: (state['parameters'] as Float32Array[])[0]!, state };
}

describe('beside adamw', () => {
  const n = 400;
  const scales = randoms(5, n).map((x) => 10 ** (2 * x)); // curvatures from 0.01 to 100
  const goal = randoms(6, n);
  const noise = (step: number) => randoms(1000 + step, n);
  const parabola = (p: Float32Array, step: number) =>
    Float64Array.from(p, (x, i) => scales[i]! * (x - goal[i]! + 0.3 * noise(step)[i]!));
  const lossOf = (p: Float32Array) => p.reduce((sum, x, i) => sum + (x - goal[i]!) ** 2, 0) / n;

  it('comes as far down a noisy parabola whose directions differ by four orders', async () => {
    const settings = { learningRate: 0.01, beta2: 0.99 };
    const wide = lossOf((await descend('adamw', n, 300, parabola, settings)).parameters);
    const narrow = lossOf((await descend('adamw8bit', n, 300, parabola, settings)).parameters);
    expect(lossOf(new Float32Array(n))).toBeGreaterThan(0.2);
    expect(wide).toBeLessThan(0.01);
    expect(narrow).toBeLessThan(1.2 * wide);
  });

  it('holds second moments that move by less than a code per step: they are right in the mean', async () => {
    // gradients of ±0.5 for 100 steps, then of ±1: v goes from .25 to 1 within a thousand steps
    const gradient = (_: Float32Array, step: number) =>
      randoms(step, 512).map((x) => Math.sign(x) * (step <= 100 ? 0.5 : 1));
    const { state } = await descend('adamw8bit', 512, 600, gradient, { learningRate: 0, beta2: 0.995 });
    const codes = (state['secondCodes'] as Uint8Array[])[0]!;
    const values = Float64Array.from(codes, (c) => 2 ** (Math.floor(c / 8) - 31) * (1 + (c % 8) / 8));
    const scale = (state['secondScales'] as Float32Array[])[0]!;
    const mean = values.reduce((sum, v, i) => sum + v * scale[Math.floor(i / 256)]!, 0) / 512;
    const wanted = (1 - 0.995 ** 100) * 0.25 * 0.995 ** 500 + (1 - 0.995 ** 500);
    expect(Math.abs(mean / wanted - 1)).toBeLessThan(0.03);
  });
});
