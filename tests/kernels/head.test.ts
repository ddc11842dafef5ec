import { afterAll, describe, expect, it } from 'vitest';
import { head, headBackward, headPolicyLoss } from '../../lib/kernels/head.ts';
import { KL_KINDS, POLICY_LOSS_KINDS, policyLoss } from '../../lib/kernels/policyLoss.ts';
import { sameAsWidened } from '../support/sameAsWidened.ts';
import { native } from '../../lib/runtime/native.ts';
import { tensor, zeros } from '../../lib/runtime/tensor.ts';
import {
  expectClose,
  randoms,
  runKernel,
  runReference,
  shaped,
  testGradient,
  testKernel,
  type Case,
} from '../support/testKernel.ts';

const { reinforce, cispo, sapo } = POLICY_LOSS_KINDS;
const { k1, abs, k2, k3, 'k3+': k3Plus } = KL_KINDS;

/** Hidden states and a weight whose logits spread over about ±2·spread. */
const forward = (seed: number, N: number, H: number, V: number, spread = 1): Case => ({
  hidden: scaled(randoms(seed, N, H), spread * 3),
  weight: scaled(randoms(seed + 1, V, H), 1 / Math.sqrt(H)),
  targets: Int32Array.from(randoms(seed + 2, N), (x) => Math.floor(((x + 1) / 2) * V)),
});
const scaled = (x: Float64Array<ArrayBuffer>, factor: number) =>
  shaped(
    x.map((v) => v * factor),
    ...(x as unknown as { shape: number[] }).shape,
  );

const backward = (seed: number, N: number, H: number, V: number, temperature = 1): Case => {
  const c = { ...forward(seed, N, H, V), temperature };
  const { entropy, logSumExp } = runReference(head, c) as Record<string, Float64Array<ArrayBuffer>>;
  return {
    ...c,
    dLogProbs: randoms(seed + 3, N),
    dEntropy: randoms(seed + 4, N),
    entropy,
    logSumExp,
    dWeight: randoms(seed + 5, V, H),
  };
};

/** Old and reference log-probabilities near the new ones, so that some ratios are cut and some are not, none of them within rounding. */
const fused = (seed: number, N: number, H: number, V: number, temperature = 1): Case => {
  const c = { ...forward(seed, N, H, V), temperature };
  const { logProbs } = runReference(head, c) as Record<string, Float64Array<ArrayBuffer>>;
  return {
    ...c,
    oldLogProbs: randoms(seed + 3, N).map((x, i) => logProbs![i]! + 0.5 * x),
    advantages: randoms(seed + 4, N).map((x) => 2 * x),
    weights: randoms(seed + 5, N).map((x) => (x + 1.1) / N),
    refLogProbs: randoms(seed + 8, N).map((x, i) => logProbs![i]! + x),
    klWeights: randoms(seed + 9, N).map((x) => (x + 1.1) / N),
    logProbSlopes: randoms(seed + 10, N).map((x) => x / N),
    entropySlopes: randoms(seed + 6, N).map((x) => x / N),
    dWeight: randoms(seed + 7, V, H),
  };
};

const none = (key: string, ...shape: number[]) => ({ [key]: shaped(new Float64Array(0), ...shape) });

/** 2⁻⁹ of every product, in sums of terms that are larger than what is left. */
const roundedTolerance = 0.02;

testKernel(head, {
  cases: {
    'no tokens': { ...forward(1, 1, 5, 7), ...none('hidden', 0, 5), targets: [] },
    'one token, one id': forward(2, 1, 3, 1),
    'one token': forward(3, 1, 16, 50),
    'equal logits': {
      hidden: [
        [0, 0],
        [0, 0],
      ],
      weight: [
        [1, 2],
        [3, 4],
        [5, 6],
      ],
      targets: [0, 2],
    },
    '65 tokens, odd sizes': forward(4, 65, 37, 101),
    'a temperature of 0.7': { ...forward(5, 37, 20, 61), temperature: 0.7 },
    'several tiles of the vocabulary': forward(6, 5, 8, 3001),
    'several blocks of tokens, several of them together': forward(9, 1700, 4, 40),
    'peaked: logits of about ±60': forward(7, 70, 16, 1100, 20),
    'logits of about ±1e4': forward(8, 33, 4, 40, 4000),
  },
  roundedTolerance,
  tolerance: { f32: 2e-6 * 16, f64: 1e-12 }, // f32: logits near 60 are sums of products near 10 and round by a few 1e-6
});

testKernel(headBackward, {
  cases: {
    'no tokens': {
      ...backward(11, 1, 5, 7),
      ...none('hidden', 0, 5),
      ...Object.fromEntries(['targets', 'dLogProbs', 'dEntropy', 'entropy', 'logSumExp'].map((k) => [k, []])),
    },
    'one token': backward(12, 1, 16, 50),
    '65 tokens, odd sizes': backward(13, 65, 37, 101),
    'a temperature of 0.7': backward(14, 37, 20, 61, 0.7),
    'several blocks of tokens': backward(15, 1100, 5, 30),
    'logits of one block at a time': backward(16, 400, 2, 16_500),
    'a frozen weight': { ...backward(13, 65, 37, 101), dWeight: undefined },
  },
  roundedTolerance: 0.05, // of slopes that are rounded too
  tolerance: { f32: 2e-5, f64: 1e-12 }, // f32: sums of a thousand products near 1
});

testKernel(headPolicyLoss, {
  cases: {
    'no tokens': {
      ...fused(21, 1, 5, 7),
      ...none('hidden', 0, 5),
      ...Object.fromEntries(
        ['targets', 'oldLogProbs', 'advantages', 'weights', 'entropySlopes']
          .concat('refLogProbs', 'klWeights', 'logProbSlopes')
          .map((k) => [k, []]),
      ),
      klKind: k3,
    },
    'one token': fused(22, 1, 16, 50),
    'one token, sapo and k3': { ...fused(22, 1, 16, 50), kind: sapo, klKind: k3 },
    '65 tokens, odd sizes': fused(23, 65, 37, 101),
    'reinforce at a temperature of 0.7': { ...fused(24, 37, 20, 61, 0.7), kind: reinforce },
    'a frozen weight': { ...fused(23, 65, 37, 101), dWeight: undefined },
    'the dual bound': { ...fused(25, 90, 8, 33), clipDual: 1.1, clipHigh: 0.05 },
    'several tiles and several blocks': fused(26, 1100, 3, 1100),
    'logits of one block at a time': fused(27, 400, 2, 16_500),
    'cispo and k2, 65 tokens': { ...fused(28, 65, 37, 101), kind: cispo, clipLow: 0, clipHigh: 0.4, klKind: k2 },
    'sapo and k3 at a temperature of 0.7': { ...fused(29, 37, 20, 61, 0.7), kind: sapo, tauPositive: 3, klKind: k3 },
    'ppo and k1': { ...fused(30, 90, 8, 33), klKind: k1 },
    'reinforce and abs, several blocks': { ...fused(34, 1100, 3, 1100), kind: reinforce, klKind: abs },
    'sapo and k3+, one block at a time': { ...fused(35, 400, 2, 16_500), kind: sapo, klKind: k3Plus },
  },
  roundedTolerance,
  tolerance: { f32: 2e-5, f64: 1e-12 }, // f32: ratios are exponentials of differences that round by 1e-6
});

const upstream = { logProbs: 'dLogProbs', entropy: 'dEntropy' };
const gradients = { hidden: 'dHidden', weight: 'dWeight' };
testGradient(head, headBackward, {
  cases: {
    'five tokens': forward(31, 5, 6, 11),
    'a temperature of 0.7': { ...forward(32, 3, 4, 9), temperature: 0.7 },
    peaked: forward(33, 3, 4, 9, 5),
  },
  upstream,
  gradients,
});

describe('one pass and three', () => {
  it.each([
    ['the logits of a chunk held', fused(41, 150, 12, 1300)],
    ['the vocabulary in slices', fused(42, 66, 2, 16_500)],
    ['sapo with a KL term', { ...fused(43, 150, 12, 1300), kind: sapo, klKind: k3 }],
  ])('agree to the last bit: %s', async (_, c) => {
    const once = await runKernel(headPolicyLoss, c, 'f32');
    const { logProbs, entropy, logSumExp } = await runKernel(
      head,
      pick(c, ['hidden', 'weight', 'targets', 'temperature']),
      'f32',
    );
    const { loss, dLogProbs, clipped } = await runKernel(
      policyLoss,
      {
        ...pick(c, ['oldLogProbs', 'advantages', 'weights', 'refLogProbs', 'klWeights', 'kind', 'klKind']),
        logProbs,
      },
      'f32',
    );
    const back = await runKernel(
      headBackward,
      {
        ...pick(c, ['hidden', 'weight', 'targets', 'dWeight', 'temperature']),
        dLogProbs: (dLogProbs as Float32Array).map((d, i) => d + Math.fround((c['logProbSlopes'] as Float64Array)[i]!)),
        dEntropy: c['entropySlopes'],
        logSumExp,
        entropy,
      },
      'f32',
    );
    expect(once).toEqual({ logProbs, entropy, loss, clipped, dHidden: back['dHidden'], dWeight: back['dWeight'] });
  });
});
sameAsWidened(head, { odd: forward(1, 70, 37, 333), 'several tiles': forward(2, 3, 16, 2100) }, { rounds: true });
sameAsWidened(headBackward, { odd: backward(3, 70, 37, 333) }, { rounds: true });
sameAsWidened(headPolicyLoss, { odd: fused(4, 70, 37, 333), 'many tiles': fused(5, 5, 8, 17_000) }, { rounds: true });

const pick = (c: Case, keys: string[]): Case => Object.fromEntries(keys.map((k) => [k, c[k]]));

describe('threads', () => {
  const before = native().threads();
  afterAll(() => native().setThreads(before));
  it('change no bit', async () => {
    const c = fused(51, 1300, 8, 300);
    const large = backward(52, 250, 3, 16_500);
    native().setThreads(1);
    const one = [await runKernel(headPolicyLoss, c, 'f32'), await runKernel(headBackward, large, 'f32')];
    for (const threads of [2, 5]) {
      native().setThreads(threads);
      expect(await runKernel(headPolicyLoss, c, 'f32')).toEqual(one[0]);
      expect(await runKernel(headBackward, large, 'f32')).toEqual(one[1]);
    }
  });
});

it('a vocabulary of 151,936 in f32: log-probabilities, entropy and gradients', async () => {
  const [N, H, V] = [3, 8, 151_936];
  const c = fused(61, N, H, V);
  const want = runReference(headPolicyLoss, c);
  const got = await runKernel(headPolicyLoss, c, 'f32');
  for (const key of Object.keys(want)) expectClose(key, got[key]!, want[key]!, 1e-5); // f32: log-probabilities near −12
});

it.each([1e-18, 1e-20, 1e-30])('a temperature of %d: what has no probability has no slope', async (temperature) => {
  const got = await runKernel(headPolicyLoss, { ...fused(62, 6, 8, 40), temperature }, 'f32');
  for (const key of ['dHidden', 'dWeight'])
    expect([...(got[key] as Iterable<number>)].filter((x) => !Number.isFinite(x)).length, key).toBe(0);
});

describe('what it refuses', () => {
  const good = { head: forward(71, 40, 6, 20), backward: backward(72, 40, 6, 20), fused: fused(73, 40, 6, 20) };
  const runs = [
    [head, good.head],
    [headBackward, good.backward],
    [headPolicyLoss, good.fused],
  ] as const;
  it.each([-1, 20, 2 ** 31 - 1, -(2 ** 31)])('the target %i', async (id) => {
    for (const [kernel, c] of runs) {
      const targets = Int32Array.from(c['targets'] as Int32Array);
      targets[33] = id;
      await expect(runKernel(kernel as never, { ...c, targets }, 'f32')).rejects.toMatchObject({
        code: 'INVALID_ARGUMENT',
        message: `${kernel.declaration.name}: targets[33] must be in [0, 20); got ${id}`,
      });
    }
  });
  it.each([0, -1, Infinity])('a temperature of %d', async (temperature) => {
    for (const [kernel, c] of runs)
      await expect(runKernel(kernel as never, { ...c, temperature }, 'f32')).rejects.toMatchObject({
        code: 'INVALID_ARGUMENT',
      });
  });
  it.each([Number.NaN, Infinity])('%d in the hidden states, naming the token', async (value) => {
    for (const [kernel, c] of [runs[0], runs[2]]) {
      const hidden = shaped(Float64Array.from(c['hidden'] as Float64Array), 40, 6);
      hidden[33 * 6 + 2] = value;
      await expect(runKernel(kernel as never, { ...c, hidden }, 'f32')).rejects.toMatchObject({
        code: 'NON_FINITE',
        message: `${kernel.declaration.name}: a logit of token 33 is not finite`,
      });
    }
  });
  it.each(['logProbSlopes', 'entropySlopes'])('a slope that is infinite, naming the token: %s', async (name) => {
    const slopes = Float64Array.from(good.fused[name] as Float64Array);
    slopes[9] = Infinity;
    await expect(runKernel(headPolicyLoss, { ...good.fused, [name]: slopes }, 'f32')).rejects.toMatchObject({
      code: 'NON_FINITE',
      message: 'head_policy_loss: the slope of token 9 is not finite',
    });
  });
  it('an old log-probability that is NaN; clip distances as policy_loss does', async () => {
    const oldLogProbs = Float64Array.from(good.fused['oldLogProbs'] as Float64Array);
    oldLogProbs[7] = Number.NaN;
    await expect(runKernel(headPolicyLoss, { ...good.fused, oldLogProbs }, 'f32')).rejects.toThrow(
      'the loss of token 7',
    );
    await expect(runKernel(headPolicyLoss, { ...good.fused, clipDual: 0.5 }, 'f32')).rejects.toThrow('clipDual');
    await expect(runKernel(headPolicyLoss, { ...good.fused, kind: 7 }, 'f32')).rejects.toThrow('kind must be 0');
    await expect(runKernel(headPolicyLoss, { ...good.fused, tauNegative: 0 }, 'f32')).rejects.toThrow('tauNegative');
    await expect(runKernel(headPolicyLoss, { ...good.fused, klKind: 9 }, 'f32')).rejects.toThrow('klKind must be 0');
    const bare = { ...good.fused, klKind: k3, klWeights: undefined };
    await expect(runKernel(headPolicyLoss, bare, 'f32')).rejects.toThrow(
      'head_policy_loss: klKind must be 0 (none) where refLogProbs or klWeights is missing; got 4',
    );
  });
  it.each([
    ['refLogProbs', 'the loss'],
    ['klWeights', 'the loss'],
    ['logProbSlopes', 'the slope'],
  ])('NaN in %s; without a KL term its lists are not read', async (key, what) => {
    const list = Float64Array.from(good.fused[key] as Float64Array);
    list[7] = Number.NaN;
    await expect(runKernel(headPolicyLoss, { ...good.fused, [key]: list, klKind: k3 }, 'f32')).rejects.toThrow(
      `${what} of token 7`,
    );
    const without = runKernel(headPolicyLoss, { ...good.fused, [key]: list }, 'f32');
    if (key === 'logProbSlopes') await expect(without).rejects.toThrow('the slope of token 7');
    else expect(await without).toEqual(await runKernel(headPolicyLoss, good.fused, 'f32'));
  });
});

it('logits far from zero are told apart as well as others, in f32, alone and fused', async () => {
  const [N, V] = [3, 8];
  const logits = randoms(91, N * V).map((x) => Math.round(32 * x) / 8); // of eighths, so that f32 holds them behind 2²⁰
  const weight = Float32Array.from({ length: V * V }, (_, i) => Number(i % (V + 1) === 0));
  const of = async (shift: number) => {
    const hidden = tensor(Float32Array.from(logits, (x) => x + shift), [N, V]); // prettier-ignore
    const ones = new Float32Array(N).fill(1);
    const args = { hidden, weight: tensor(weight, [V, V]), targets: Int32Array.of(0, 3, 7), temperature: 0.7 };
    const { logProbs, entropy, logSumExp } = head(args);
    const dWeight = zeros('f32', [V, V]);
    const apart = headBackward({ ...args, dLogProbs: ones, dEntropy: ones, logSumExp, entropy, dWeight });
    const lists = { advantages: ones.map(() => -1), weights: ones, oldLogProbs: ones, entropySlopes: ones };
    const kind = POLICY_LOSS_KINDS.reinforce;
    const fused = headPolicyLoss({ ...args, ...lists, logProbSlopes: ones.map(() => 0), kind, dWeight });
    return Promise.all([logProbs, entropy, apart.dHidden, fused.dHidden].map((t) => t.read()));
  };
  const [near, far] = [await of(0), await of(2 ** 20)];
  near.forEach((values, k) => values.forEach((x, i) => expect(Math.abs(far[k]![i]! - x)).toBeLessThan(2e-6))); // f32
});
