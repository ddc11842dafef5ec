import { describe, expect, it } from 'vitest';
import { POLICY_LOSS_KINDS, policyLoss, tokenLossReference } from '../../lib/kernels/policyLoss.ts';
import { goldenCases } from '../support/golden.ts';
import { expectClose, randoms, runKernel, testKernel, type Case } from '../support/testKernel.ts';

const { reinforce, ppo } = POLICY_LOSS_KINDS;
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

testKernel(policyLoss, {
  cases: {
    'no tokens': { logProbs: [], oldLogProbs: [], advantages: [], weights: [] },
    'one token': { logProbs: [-1], oldLogProbs: [-1.1], advantages: [0.5], weights: [2] },
    'reinforce, 37 tokens': { ...random(1, 37, 1), kind: reinforce },
    'ppo, 37 tokens': { ...random(2, 37, 0.5), kind: ppo },
    'ppo, clip-higher, 5001 tokens': { ...random(3, 5001, 0.5), clipLow: 0.2, clipHigh: 0.28 },
    'ppo with the dual bound, 5001 tokens': { ...random(4, 5001, 3), clipDual: 3 },
    'an advantage or a weight of 0': { logProbs: [-1, -2], oldLogProbs: [-2, -1], advantages: [0, 1], weights: [1, 0] },
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
  },
  tolerance: { f32: 1e-5, f64: 1e-12 }, // f32: the difference of two log-probabilities near 4 rounds by 2e-7 and is exponentiated
});

describe('policy_loss on the golden cases', () => {
  const known = { reinforce, ppo } as Record<string, number>;
  for (const { name, inputs, expected, tolerance } of goldenCases('algorithms/policy_loss.json')) {
    const kind = known[inputs['loss'] as string];
    if (kind === undefined) continue; // the sequence-level and soft-clipped losses are not per-token functions of this kernel
    it(name, async () => {
      const flat = (key: string) => (inputs[key] as number[][] | undefined)?.flat();
      const params = inputs['params'] as { clip_low?: number; clip_high?: number; clip_dual?: number };
      const args = {
        logProbs: flat('log_probs')!,
        oldLogProbs: flat('old_log_probs')!,
        advantages: flat('advantages')!,
        kind,
        clipLow: params.clip_low ?? 0.2,
        clipHigh: params.clip_high ?? 0.2,
        clipDual: params.clip_dual ?? 0,
      };
      const near = (actual: number, want: number) =>
        expect(Math.abs(actual - want)).toBeLessThanOrEqual(tolerance.atol! + tolerance.rtol! * Math.abs(want));

      const mask = flat('mask')!;
      const perToken = await runKernel(policyLoss, { ...args, weights: mask }, 'f64');
      (expected['per_token'] as number[][]).flat().forEach((want, i) => near(perToken['loss']![i]!, want));

      const rows = inputs['mask'] as number[][];
      const tokens = rows.map((row) => row.reduce((a, b) => a + b, 0));
      const filled = tokens.filter((count) => count > 0).length;
      const divisor = (row: number): number => {
        switch (inputs['aggregation']) {
          case 'token-mean':
            return tokens.reduce((a, b) => a + b, 0);
          case 'seq-mean-token-sum':
            return filled;
          case 'seq-mean-token-mean':
            return filled * tokens[row]!;
          case 'seq-mean-token-sum-norm':
            return rows[0]!.length;
          default:
            throw new Error(`unknown aggregation ${String(inputs['aggregation'])}`);
        }
      };
      const importance = flat('is_weights');
      const weights = rows
        .flatMap((row, b) => row.map((m) => (m ? m / divisor(b) : 0)))
        .map((m, i) => m * (importance?.[i] ?? 1));
      const out = await runKernel(policyLoss, { ...args, weights }, 'f64');
      near(
        Array.from(out['loss']!).reduce((a, b) => a + b, 0),
        expected['loss'] as number,
      );
      (expected['grad_log_probs'] as number[][]).flat().forEach((want, i) => near(out['dLogProbs']![i]!, want));
    });
  }
});

it('the slope of the reference is the derivative of its loss', () => {
  const at = { clipLow: 0.2, clipHigh: 0.28, clipDual: 3 };
  const xs = randoms(11, 300).map((x) => 2.5 * x);
  for (const kind of [reinforce, ppo])
    for (const advantage of [1.5, -0.7, 0]) {
      const loss = (x: number) => tokenLossReference(x, 0, advantage, { kind, ...at }).loss;
      const slopes = xs.map((x) => tokenLossReference(x, 0, advantage, { kind, ...at }).slope);
      expectClose(
        `slope, kind ${kind}, advantage ${advantage}`,
        slopes,
        xs.map((x) => (loss(x + 1e-6) - loss(x - 1e-6)) / 2e-6),
        1e-7,
      );
    }
});

describe('what it refuses', () => {
  const one = { logProbs: [-1], oldLogProbs: [-1], advantages: [1], weights: [1] };
  it.each([
    [{ kind: 2 }, /kind must be 0 \(reinforce\) or 1 \(ppo\)/],
    [{ clipLow: 1.2 }, /clipLow must be in \[0, 1\]/],
    [{ clipLow: -0.1 }, /clipLow/],
    [{ clipHigh: -0.1 }, /clipHigh must be at least 0/],
    [{ clipDual: 1 }, /clipDual must be 0 \(off\) or greater than 1/],
    [{ clipDual: -3 }, /clipDual/],
  ])('%o', async (scalars, message) => {
    await expect(runKernel(policyLoss, { ...one, ...scalars }, 'f32')).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringMatching(message) as string,
    });
  });
  it.each(['logProbs', 'oldLogProbs', 'advantages', 'weights'])('NaN in %s, naming the token', async (key) => {
    const c: Case = { ...random(7, 40, 0.1) };
    (c[key] as Float64Array)[33] = Number.NaN;
    await expect(runKernel(policyLoss, c, 'f32')).rejects.toMatchObject({
      code: 'NON_FINITE',
      message: expect.stringContaining('token 33') as string,
    });
  });
});
