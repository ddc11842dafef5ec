import { describe, expect, it } from 'vitest';
import { adamw } from '../../lib/kernels/adamw.ts';
import { sameForAnyThreads } from '../support/sameForAnyThreads.ts';
import { randoms, roundCase, runKernel, runReference, testKernel, type Case } from '../support/testKernel.ts';

/** One update of tensors of some sizes. */
const update = (sizes: number[], more: Record<string, number> = {}) => ({
  gradients: sizes.map((N) => randoms(1, N)),
  parameters: sizes.map((N) => randoms(2, N)),
  firstMoments: sizes.map((N) => randoms(3, N).map((v) => v / 10)),
  secondMoments: sizes.map((N) => randoms(4, N).map((v) => (v * v) / 10)),
  learningRate: 1e-3,
  step: 3,
  ...more,
});

testKernel(adamw, {
  cases: {
    'the first step': {
      gradients: [[1, -2, 0]],
      parameters: [[1, 1, 1]],
      firstMoments: [[0, 0, 0]],
      secondMoments: [[0, 0, 0]],
      learningRate: 0.1,
      step: 1,
    },
    'one, with everything set': update([1], {
      beta1: 0.8,
      beta2: 0.95,
      epsilon: 1e-3,
      weightDecay: 0.1,
      gradientScale: 0.25,
    }),
    none: update([0]),
    'no tensor': update([]),
    'no momentum': update([33], { beta1: 0, beta2: 0, weightDecay: 0.01 }),
    'a late step, more than a block': update([20001], { weightDecay: 0.01, step: 100000 }),
    'several tensors, one of them empty': update([17, 0, 40000, 1], { weightDecay: 0.01 }),
  },
  tolerance: { f32: 1e-6, f64: 1e-14, bf16: 2 ** -7 }, // a few roundings of numbers near 1; one of 1e4 parameters of bf16 takes the other neighbour
});
sameForAnyThreads(adamw, update([50001, 3, 40000]));
sameForAnyThreads(adamw, update([50001, 3, 40000]), 'bf16');

describe('parameters of bf16', () => {
  const change = { beta1: 0, beta2: 0, epsilon: 0 }; // every parameter moves by the learning rate
  const many = (n: number, value: number, more: Record<string, number> = {}) => ({
    ...update([n]),
    gradients: [new Float64Array(n).fill(1)],
    parameters: [new Float64Array(n).fill(value)],
    learningRate: 2 ** -12,
    ...change,
    ...more,
  });
  const parametersOf = async (given: Case) => (await runKernel(adamw, given, 'bf16'))['parameters'] as Float32Array;

  it('are rounded as the reference says, but for those that f32 brings across a border', async () => {
    const given = roundCase(adamw, update([40_000, 300], { weightDecay: 0.01, step: 9 }), 'bf16');
    const [got, wanted] = [await parametersOf(given), runReference(adamw, given, 'bf16')['parameters']!];
    const before = (given['parameters'] as number[][]).flatMap((p) => [...p]);
    expect(wanted.some((x, i) => x !== before[i])).toBe(true);
    expect(got.filter((x, i) => x !== wanted[i]).length).toBeLessThan(10);
  });
  it('move by steps far below the distance of neighbours, in the mean', async () => {
    const n = 100_000;
    // between 1 and 1 − 2⁻⁸ there is nothing: a sixteenth of all parameters takes the whole distance
    const moved = (await parametersOf(many(n, 1))).filter((x) => x !== 1);
    expect(new Set(moved)).toEqual(new Set([1 - 2 ** -8]));
    const deviation = Math.sqrt((n / 16) * (15 / 16));
    expect(Math.abs(moved.length - n / 16)).toBeLessThan(4 * deviation);
    expect(Math.abs((await parametersOf(many(n, -3, { step: 4 }))).reduce((sum, x) => sum + x + 3, 0) / n + 2 ** -12)).toBeLessThan(4 * Math.sqrt(2 ** -12 * 2 ** -6 / n)); // prettier-ignore
  });
  it('arrive after many steps where f32 arrives', async () => {
    const [n, steps] = [2000, 400];
    let values: Float32Array = new Float32Array(n).fill(0.5);
    for (let step = 1; step <= steps; step++)
      values = await parametersOf({ ...many(n, 0), parameters: [Float64Array.from(values)], learningRate: 1e-4, step });
    const mean = values.reduce((sum, x) => sum + x, 0) / n;
    expect(Math.abs(mean - (0.5 - steps * 1e-4))).toBeLessThan(4 * Math.sqrt((steps * 1e-4 * 2 ** -9) / n));
  });
  it('of other steps, tensors and elements are rounded otherwise, of the same again so', async () => {
    const n = 4096;
    const up = async (given: Case) => (await parametersOf(given)).map((x) => (x === 1 ? 0 : 1));
    const base = { learningRate: 2 ** -9 }; // half of them move
    const first = await up(many(n, 1, base));
    expect(await up(many(n, 1, base))).toEqual(first);
    const two = { ...many(n, 1, base) };
    const pair = await up(
      Object.fromEntries(Object.entries(two).map(([k, v]) => [k, Array.isArray(v) ? [v[0]!, v[0]!] : v])),
    );
    const next = await up(many(n, 1, { ...base, step: 4 }));
    for (const [what, other] of Object.entries({ step: next, tensor: pair.subarray(n), element: first.subarray(1) })) {
      const same = other.filter((x, i) => x === first[i]).length / other.length;
      expect(Math.abs(same - 0.5), what).toBeLessThan(0.04); // 5 deviations
    }
    expect(pair.subarray(0, n)).toEqual(first);
  });
  it('of a list that begins at a place are rounded as there', async () => {
    const given = roundCase(adamw, update([300, 4096, 17], { weightDecay: 0.01 }), 'bf16');
    const all = await parametersOf(given);
    const last = Object.fromEntries(Object.entries(given).map(([k, v]) => [k, Array.isArray(v) ? v.slice(1) : v]));
    expect(await parametersOf({ ...last, firstPlace: 1 } as Case)).toEqual(all.subarray(300));
    expect(await parametersOf(last as Case)).not.toEqual(all.subarray(300));
  });
  it('of a piece of a tensor are rounded as in the whole', async () => {
    const given = roundCase(adamw, update([5000], { weightDecay: 0.01 }), 'bf16');
    const all = await parametersOf(given);
    const piece = Object.fromEntries(
      Object.entries(given).map(([k, v]) => [k, Array.isArray(v) ? v.map((list) => list.slice(1024)) : v]),
    );
    expect(await parametersOf({ ...piece, firstElement: 1024 } as Case)).toEqual(all.subarray(1024));
  });
  it('that are not finite stay so', async () => {
    const odd = [Infinity, -Infinity, Number.NaN, 1];
    const got = await parametersOf({
      ...many(4, 0),
      parameters: [odd],
      gradients: [[0, 0, 0, Number.NaN]],
      beta2: 0.5,
    });
    expect([...got]).toEqual([Infinity, -Infinity, Number.NaN, Number.NaN]);
  });
});

it('moves by the learning rate against the gradient at first, whatever its size', async () => {
  const zero = [0, 0, 0];
  const given = {
    gradients: [[1e-3, -5, 1e6]],
    parameters: [zero],
    firstMoments: [zero],
    secondMoments: [zero],
    learningRate: 0.01,
    step: 1,
  };
  const { parameters } = await runKernel(adamw, given, 'f64');
  [-0.01, 0.01, -0.01].forEach((v, i) => expect(parameters![i]).toBeCloseTo(v, 6));
});

it('follows a parabola to its minimum', async () => {
  let state: Record<string, number[][]> = { parameters: [[3]], firstMoments: [[0]], secondMoments: [[0]] };
  for (let step = 1; step <= 300; step++) {
    const gradients = [[2 * (state['parameters']![0]![0]! - 1)]];
    const next = await runKernel(adamw, { ...state, gradients, learningRate: 0.1, step }, 'f32');
    state = Object.fromEntries(Object.entries(next).map(([name, values]) => [name, [Array.from(values)]]));
  }
  expect(state['parameters']![0]![0]).toBeCloseTo(1, 3);
});

it('refuses a step before the first and betas outside [0, 1)', async () => {
  await expect(runKernel(adamw, update([2], { step: 0 }), 'f32')).rejects.toThrow('adamw: step must be at least 1');
  for (const beta of [{ beta1: 1 }, { beta2: 1 }, { beta1: -0.1 }])
    await expect(runKernel(adamw, update([2], beta), 'f32')).rejects.toThrow(
      'adamw: beta1 and beta2 must be in [0, 1)',
    );
});

it('refuses lists that are not of one length, tensor by tensor', async () => {
  const code = 'SHAPE_MISMATCH';
  await expect(
    runKernel(
      adamw,
      {
        ...update([2, 3]),
        parameters: [
          [1, 2],
          [3, 4],
        ],
      },
      'f32',
    ),
  ).rejects.toMatchObject({ code });
  await expect(runKernel(adamw, { ...update([2, 3]), firstMoments: [[1, 2]] }, 'f32')).rejects.toMatchObject({
    code,
    message: 'adamw: firstMoments must be as many tensors, of the same sizes, as the other lists',
  });
});
