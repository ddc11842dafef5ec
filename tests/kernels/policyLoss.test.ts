import { describe, expect, it } from 'vitest';
import {
  KL_KINDS,
  klReference,
  POLICY_LOSS_KINDS,
  policyLoss,
  tokenLossReference,
} from '../../lib/kernels/policyLoss.ts';
import { expectClose, randoms, runKernel, testKernel, type Case } from '../support/testKernel.ts';

const { reinforce, ppo, cispo, sapo } = POLICY_LOSS_KINDS;
const { none, k1, abs, k2, k3, 'k3+': k3Plus } = KL_KINDS;
/** Ratios on both sides of every bound, none of them nearer than f32 rounds. */
const random = (seed: number, n: number, spread: number): Case => {
  const oldLogProbs = randoms(seed, n).map((x) => x - 1.5);
  return {
    logProbs: randoms(seed + 1, n).map((x, i) => oldLogProbs[i]! + spread * x),
    oldLogProbs,
    advantages: randoms(seed + 2, n).map((x) => 2 * x),
    weights: randoms(seed + 3, n).map((x) => x + 1.1),
  };
};

/** With a reference so far away; both signs of the weights, so that nothing takes them for positive. */
const withKl = (c: Case, seed: number, spread: number, klKind: number): Case => ({
  ...c,
  refLogProbs: randoms(seed, (c['logProbs'] as Float64Array).length).map(
    (x, i) => (c['logProbs'] as Float64Array)[i]! - spread * x,
  ),
  klWeights: randoms(seed + 1, (c['logProbs'] as Float64Array).length),
  klKind,
});
/** The lists of a KL term alone: x = logProb − refLogProb. */
const differences = (x: number[], klKind: number): Case => ({
  logProbs: x,
  oldLogProbs: x,
  refLogProbs: x.map(() => 0),
  advantages: x.map(() => 0),
  weights: x.map(() => 0),
  klWeights: x.map(() => 1),
  klKind,
});

testKernel(policyLoss, {
  cases: {
    'no tokens': { logProbs: [], oldLogProbs: [], advantages: [], weights: [] },
    'one token': { logProbs: [-1], oldLogProbs: [-1.1], advantages: [0.5], weights: [2] },
    'reinforce, 37 tokens': { ...random(1, 37, 1), kind: reinforce },
    'ppo, 37 tokens': { ...random(2, 37, 0.5), kind: ppo },
    'ppo, clip-higher, 5001 tokens': { ...random(3, 5001, 0.5), clipLow: 0.2, clipHigh: 0.28 },
    'ppo with the dual bound, 5001 tokens': { ...random(4, 5001, 3), clipDual: 3 },
    'an advantage or a weight of 0': { logProbs: [-1, -2], oldLogProbs: [-2, -1], advantages: [0, 1], weights: [1, 0] },
    'the policy itself as the proximal one': { ...random(9, 37, 0.5), oldLogProbs: undefined, kind: ppo },
    'the same with sapo': { ...random(9, 37, 0.5), oldLogProbs: undefined, kind: POLICY_LOSS_KINDS.sapo },
    'equal log-probabilities': { logProbs: [-1, -1], oldLogProbs: [-1, -1], advantages: [1, -1], weights: [1, 1] },
    'one side without a bound': { ...random(5, 99, 4), clipLow: 1, clipHigh: Infinity },
    'beyond the clamp': {
      logProbs: [-1, -30, -1, -30, -1],
      oldLogProbs: [-22, -1, -20.5, -10.5, -22],
      advantages: [-1, 1, -1, 1, 1],
      weights: [1, 1, 1, 1, 1],
      clipHigh: Infinity,
      clipLow: 1,
    },
    'cispo, 37 tokens': { ...random(6, 37, 0.5), kind: cispo },
    'cispo with wide bounds, 5001 tokens': { ...random(7, 5001, 3), kind: cispo, clipLow: 0, clipHigh: 4 },
    'cispo without a lower bound, 99 tokens': { ...random(8, 99, 4), kind: cispo, clipLow: 1, clipHigh: 0.28 },
    'cispo without an upper bound, one token': { ...random(9, 1, 4), kind: cispo, clipLow: 1, clipHigh: Infinity },
    'sapo, 37 tokens': { ...random(10, 37, 0.5), kind: sapo },
    'sapo, far away and sharp, 5001 tokens': { ...random(12, 5001, 3), kind: sapo, tauPositive: 5, tauNegative: 0.3 },
    'sapo, equal log-probabilities, an advantage of 0': {
      logProbs: [-1, -1, -1],
      oldLogProbs: [-1, -1, -1],
      advantages: [1, -1, 0],
      weights: [1, 1, 1],
      kind: sapo,
    },
    ...Object.fromEntries(
      Object.entries({ cispo, sapo }).map(([name, kind]) => [
        `${name} beyond the clamp`,
        {
          logProbs: [-1, -30, -1, -30],
          oldLogProbs: [-22, -1, -20.5, -10.5],
          advantages: [1, 1, 1, -1],
          weights: [1, 1, 1, 1],
          kind,
          clipLow: 1,
          tauPositive: 0.001,
          tauNegative: 0.001,
        },
      ]),
    ),
    ...Object.fromEntries(
      Object.entries(KL_KINDS).flatMap(([name, klKind]) => [
        [`ppo and ${name}, 5001 tokens`, withKl({ ...random(13, 5001, 0.5), kind: ppo }, 21, 4, klKind)],
        [`sapo and ${name}, 37 tokens`, withKl({ ...random(17, 37, 0.5), kind: sapo }, 23, 0.01, klKind)],
        [`${name}, no tokens`, differences([], klKind)],
        [`${name}, one token`, differences([0.3], klKind)],
        // both sides of ½, of where k3 reaches 10, and of the clamp
        [`${name}, here and there`, differences([0, -0, 1e-6, -0.49, 0.51, -2.5, -2.7, 10.9, 11.1, -30, 30], klKind)],
      ]),
    ),
  },
  tolerance: { f32: 1e-5, f64: 1e-12 }, // f32: the difference of two log-probabilities near 4 rounds by 2e-7 and is exponentiated
});

describe('the slope of the reference is the derivative of its loss', () => {
  const at = { clipLow: 0.2, clipHigh: 0.28, clipDual: 3, tauPositive: 1.3, tauNegative: 0.8 };
  const xs = randoms(11, 300).map((x) => 2.5 * x);
  const h = 1e-6;
  const derivative = (f: (x: number) => number) => xs.map((x) => (f(x + h) - f(x - h)) / (2 * h));
  it.each(Object.entries({ reinforce, ppo, sapo }))('%s', (_, kind) => {
    for (const advantage of [1.5, -0.7, 0]) {
      const token = (x: number) => tokenLossReference(x, 0, advantage, { kind, ...at });
      const slopes = xs.map((x) => token(x).slope);
      expectClose(
        `slope, advantage ${advantage}`,
        slopes,
        derivative((x) => token(x).loss),
        1e-7,
      );
    }
  });
  it('cispo, whose ratio is a constant', () => {
    for (const advantage of [1.5, -0.7, 0]) {
      const slopes = xs.map((x) => tokenLossReference(x, 0, advantage, { kind: cispo, ...at }).slope);
      // moved together, the two log-probabilities leave the ratio as it is
      const moved = (x: number, by: number) =>
        tokenLossReference(x + by, by, advantage, { kind: cispo, ...at }).loss / (2 * h);
      expectClose(
        `slope, advantage ${advantage}`,
        slopes,
        xs.map((x) => moved(x, h) - moved(x, -h)),
        1e-7,
      );
    }
  });
  it.each(Object.entries({ none, k1, abs, k2, k3 }))('kl: %s', (_, klKind) => {
    const far = (x: number) => 10 * x; // beyond both clamps of k3 too
    const slopes = xs.map((x) => 10 * klReference(far(x), klKind).slope);
    // abs has no derivative at 0, and k3 none where it reaches 10: no x is within h of them
    expectClose(
      'slope',
      slopes,
      derivative((x) => klReference(far(x), klKind).kl),
      1e-6, // 10 times that of x, where eᵘ is 12
    );
  });
  it('kl: k3+ has the value of k3 and the slope of k2', () => {
    for (const x of [...xs, 0, 15, -15, 25, -25]) {
      expect(klReference(x, k3Plus)).toEqual({ kl: klReference(x, k3).kl, slope: klReference(x, k2).slope });
    }
  });
});

describe('where numbers are small', () => {
  /** σ(x) and 1 − σ(x) for x ≥ 0, neither by subtraction from 1 */
  const sigmoid = (x: number) => ({ large: 1 / (1 + Math.exp(-x)), small: Math.exp(-x) / (1 + Math.exp(-x)) });
  it.each([
    ['f32', 2e-4], // x is a ratio of up to 80, which rounds by 1e-7 of itself, and is exponentiated
    ['f64', 1e-12],
  ] as const)('both tails of sapo keep their digits (%s)', async (variant, tolerance) => {
    const ratios = [1, 2, 5, 15, 20, 38, 60, 80];
    const above = await runKernel(
      policyLoss,
      {
        logProbs: ratios.map((r) => Math.fround(Math.log(r))),
        oldLogProbs: ratios.map(() => 0),
        advantages: ratios.map(() => -1),
        weights: ratios.map(() => 1),
        kind: sapo,
        tauNegative: 1,
      },
      variant,
    );
    ratios.forEach((r, i) => {
      const ratio = Math.exp(Math.fround(Math.log(r)));
      const { large, small } = sigmoid(ratio - 1);
      expect(Math.abs(above['dLogProbs']![i]! / (4 * large * small * ratio) - 1)).toBeLessThan(tolerance);
      expect(Math.abs(above['loss']![i]! / (4 * large) - 1)).toBeLessThan(tolerance);
    });
    for (const tau of [2, 10, 30, 60, 80]) {
      const logProb = Math.fround(-10);
      const below = await runKernel(
        policyLoss,
        { logProbs: [logProb], oldLogProbs: [0], advantages: [1], weights: [1], kind: sapo, tauPositive: tau },
        variant,
      );
      const { large, small } = sigmoid(tau * (1 - Math.exp(logProb)));
      expect(Math.abs(below['loss']![0]! / ((-4 / tau) * small) - 1)).toBeLessThan(tolerance);
      expect(Math.abs(below['dLogProbs']![0]! / (-4 * large * small * Math.exp(logProb)) - 1)).toBeLessThan(tolerance);
    }
  });
  it.each([
    ['f32', 1e-6], // a few roundings
    ['f64', 1e-14],
  ] as const)('k3 near the reference keeps its digits and is never negative (%s)', async (variant, tolerance) => {
    const xs = [1e-9, 1e-7, 1e-5, 1e-3, 0.1, 0.3].flatMap((x) => [x, -x]).map(Math.fround);
    const { loss, dLogProbs } = await runKernel(policyLoss, differences(xs, k3), variant);
    xs.forEach((x, i) => {
      let [term, sum] = [(x * x) / 2, 0];
      for (let k = 3; k < 20; k++) {
        sum += term;
        term *= -x / k;
      }
      expect(Math.abs(loss![i]! / sum - 1)).toBeLessThan(tolerance);
      expect(Math.abs(dLogProbs![i]! / -Math.expm1(-x) - 1)).toBeLessThan(tolerance);
    });
  });
});

it('a klKind of none reads no list of the KL term', async () => {
  const c = random(31, 37, 0.5);
  const nothing = await runKernel(policyLoss, c, 'f32');
  const lists = { refLogProbs: new Float64Array(37).fill(NaN), klWeights: new Float64Array(37).fill(NaN) };
  expect(await runKernel(policyLoss, { ...c, ...lists, klKind: none }, 'f32')).toEqual(nothing);
});

describe('what it refuses', () => {
  const one = { logProbs: [-1], oldLogProbs: [-1], advantages: [1], weights: [1] };
  it.each([
    [{ kind: 4 }, /kind must be 0 \(reinforce\), 1 \(ppo\), 2 \(cispo\) or 3 \(sapo\); got 4/],
    [{ kind: -1 }, /kind must be .*; got -1/],
    [{ clipLow: 1.2 }, /clipLow must be in \[0, 1\]; got 1.2/],
    [{ clipLow: -0.1 }, /clipLow/],
    [{ clipHigh: -0.1 }, /clipHigh must be at least 0/],
    [{ clipDual: 1 }, /clipDual must be 0 \(off\) or greater than 1/],
    [{ clipDual: -3 }, /clipDual/],
    [{ tauPositive: 0 }, /tauPositive must be positive and finite; got 0/],
    [{ tauPositive: Infinity }, /tauPositive must be positive and finite; got inf/],
    [{ tauNegative: -1 }, /tauNegative must be positive and finite; got -1/],
    [{ klKind: 6, refLogProbs: [-1], klWeights: [1] }, /klKind must be .* or 5 \(k3\+\); got 6/],
    [{ klKind: -1, refLogProbs: [-1], klWeights: [1] }, /klKind must be/],
    [{ klKind: k3 }, /klKind must be 0 \(none\) where refLogProbs or klWeights is missing; got 4/],
    [{ klKind: k3, klWeights: [1] }, /refLogProbs or klWeights is missing/],
  ])('%o', async (scalars, message) => {
    await expect(runKernel(policyLoss, { ...one, ...scalars }, 'f32')).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringMatching(message) as string,
    });
  });
  const lists = ['logProbs', 'oldLogProbs', 'advantages', 'weights'];
  const everywhere = [ppo, cispo, sapo].flatMap((kind) => [
    ...lists.map((key) => [key, kind, none] as const),
    ...[k1, abs, k2, k3, k3Plus].flatMap((klKind) =>
      [...lists, 'refLogProbs', 'klWeights'].map((key) => [key, kind, klKind] as const),
    ),
  ]);
  it('NaN in logProbs where there are no oldLogProbs', async () => {
    const c: Case = { ...random(7, 40, 0.1), oldLogProbs: undefined };
    (c['logProbs'] as Float64Array)[33] = Number.NaN;
    await expect(runKernel(policyLoss, c, 'f32')).rejects.toMatchObject({
      code: 'NON_FINITE',
      message: expect.stringContaining('token 33 has no finite loss (logProb nan, oldLogProb nan') as string,
    });
  });
  it.each(everywhere)('NaN in %s, naming the token: kind %d, klKind %d', async (key, kind, klKind) => {
    const c: Case = { ...withKl(random(7, 40, 0.1), 41, 0.5, klKind), kind };
    (c[key] as Float64Array)[33] = Number.NaN;
    await expect(runKernel(policyLoss, c, 'f32')).rejects.toMatchObject({
      code: 'NON_FINITE',
      message: expect.stringContaining('token 33') as string,
    });
  });
});
