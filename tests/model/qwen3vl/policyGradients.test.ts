import { afterAll, beforeAll, expect, it } from 'vitest';
import { Policy, type PolicyBatch } from '../../../lib/model/qwen3vl/policy.ts';
import { goldenJson } from '../../support/goldenModel.ts';
import { packSequences, type GoldenSequence } from '../../support/goldenSequences.ts';
import { writeGoldenCheckpoint } from '../../support/syntheticCheckpoint.ts';

let policy: Policy;
let batch: PolicyBatch;
beforeAll(async () => {
  policy = await Policy.load(await writeGoldenCheckpoint('nano'), { dtype: 'f64' });
  // images, a video and text only in one packed batch
  const sequences = ['batch4', 'mixed'].flatMap(
    (name) => goldenJson<{ sequences: GoldenSequence[] }>(`cases/nano/${name}.json`).sequences,
  );
  batch = packSequences(sequences, policy.config.ids);
});
afterAll(() => policy.dispose());

it('finite differences hold for every parameter tensor, through log-probabilities and entropies, in f64', async () => {
  const n = batch.targetIds.length;
  const slopes = Float64Array.from({ length: n }, (_, i) => Math.sin(i) / n);
  const advantages = Float64Array.from({ length: n }, (_, i) => Math.cos(3 * i));
  const weights = new Float64Array(n).fill(1 / n);
  const objective = async () => {
    const { logProbs, entropy } = await policy.forward(batch, { temperature: 0.9 });
    return Array.from(logProbs).reduce((s, l, i) => s - (advantages[i]! * l) / n + slopes[i]! * entropy[i]!, 0);
  };
  policy.zeroGradients();
  const loss = {
    kind: 'reinforce' as const,
    oldLogProbs: new Float64Array(n),
    advantages,
    weights,
    entropySlopes: slopes,
  };
  await policy.forwardBackward(batch, { ...loss, clipLow: 0.2, clipHigh: 0.2, clipDual: 0 }, { temperature: 0.9 });
  for (const [k, { name, weight, gradient }] of policy.parameters.entries()) {
    const g = await gradient.read();
    // along a random direction of the whole tensor: every element takes part
    const direction = Float64Array.from({ length: g.length }, (_, i) => Math.sin(12.9898 * (i + 1) + k));
    const size = Math.sqrt(direction.reduce((s, v) => s + v * v, 0));
    const analytic = Array.from(g).reduce((s, v, i) => s + (v * direction[i]!) / size, 0);
    const h = 1e-4;
    const at = (await weight.read()) as Float64Array<ArrayBuffer>;
    const moved = (by: number) => {
      weight.write(at.map((w, i) => w + (by * direction[i]!) / size));
      return objective();
    };
    const plus = await moved(h);
    const minus = await moved(-h);
    weight.write(at);
    const numeric = (plus - minus) / (2 * h);
    // truncation is of order h² times the third derivative; rounding 1e-16 / h
    expect(Math.abs(analytic - numeric), `${name}: ${analytic} against ${numeric}`).toBeLessThan(
      2e-6 * Math.max(1, Math.abs(numeric)),
    );
  }
});
