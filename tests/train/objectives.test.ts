import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ESTIMATORS } from '../../lib/algorithms/index.ts';
import { writeGallery, writeSmallPolicy } from '../../lib/data/gallery/index.ts';
import { loadTrainConfig } from '../../lib/train/config.ts';
import { train } from '../../lib/train/train.ts';
import { collectReports, repeatable } from '../support/collectReports.ts';
import { rejectionOf } from '../support/thrown.ts';

let dir: string;
const at = (...path: string[]) => join(dir, ...path);

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'g2rpo-objectives-'));
  await writeGallery({ out: at('gallery'), train: 24, validation: 0, seed: 1 });
  await writeSmallPolicy(at('policy'), { seed: 3, hidden: 32, layers: 2, visionHidden: 32, visionDepth: 2 });
  // every response gets something, so that a policy that knows nothing learns at once
  writeFileSync(at('reward.mjs'), 'export default ({ response }) => (response.length % 7) / 7;\n');
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

let runs = 0;
async function trained(algorithm: object, { steps = 4, output = `run-${runs++}`, learningRate = 1e-2 } = {}) {
  const config = loadTrainConfig({
    output: at(output),
    policy: { path: at('policy') },
    data: { train: at('gallery', 'train.jsonl'), template: 'plain' },
    rollout: { prompts: 4, n: 3, maxTokens: 6, filter: { low: -1, high: 2 } },
    rewards: { file: at('reward.mjs'), concurrency: 1 },
    algorithm,
    train: { steps, updatePrompts: 2, learningRate, saveEverySteps: 2, microBatchTokens: 64 },
    eval: { samples: 0 },
  });
  const { reporter, steps: reports } = collectReports();
  const { policyDir } = await train(config, reporter);
  const weights = readFileSync(join(policyDir!, 'model.safetensors')).toString('base64');
  return { weights, metrics: reports.map(({ metrics }) => metrics) };
}

describe('a training', () => {
  it.each([...ESTIMATORS.keys()])('compares by %s', async (name) => {
    const { metrics } = await trained({ name });
    expect(metrics).toHaveLength(4);
    for (const each of metrics) {
      expect(each['actor/skipped_updates']).toBe(0);
      expect(each['actor/grad_norm']).toBeGreaterThan(0);
    }
  });

  it.each([
    ['gspo', { loss: 'gspo', aggregation: 'seq-mean-token-mean' }],
    ['gspo-token', { loss: 'gspo-token', aggregation: 'seq-mean-token-mean' }],
    ['cispo', { loss: 'cispo' }],
    ['sapo', { loss: 'sapo' }],
    ['reinforce', { loss: 'reinforce', aggregation: 'seq-mean-token-sum' }],
    ['truncated importance sampling', { rolloutCorrection: { level: 'sequence' } }],
    [
      'the whole objective',
      { entropyBand: { coef: 0.1, min: 7, max: 8 }, lengthReward: { weight: 0.2 }, overlong: { factor: 1, buffer: 3 } },
    ],
  ])('learns by %s', async (_, algorithm) => {
    const { metrics } = await trained(algorithm);
    for (const each of metrics) {
      expect(each['actor/skipped_updates']).toBe(0);
      expect(each['actor/pg_loss']).not.toBeNaN();
      expect(each['actor/grad_norm']).toBeGreaterThan(0);
    }
  });

  it('stays nearer to the policy that it began with for a KL term in the loss', async () => {
    const moved = async (coef: number) => {
      const { metrics } = await trained({ kl: { coef, kind: 'k3' } }, { steps: 20, learningRate: 3e-3 });
      return metrics.slice(-6).reduce((sum, each) => sum + each['actor/kl_loss']! / 6, 0);
    };
    const [loose, tight] = [await moved(1e-9), await moved(3)];
    expect(tight).toBeGreaterThan(0);
    expect(tight).toBeLessThan(loose / 2);
  });

  it('goes on from a checkpoint to the same weights, with all that it remembers', async () => {
    const algorithm = { name: 'ema-grpo', kl: { coef: 0.1, in: 'reward', target: 0.01, horizon: 50 } };
    const whole = await trained(algorithm, { steps: 8 });
    await trained(algorithm, { steps: 4, output: 'halves' });
    const rest = await trained(algorithm, { steps: 8, output: 'halves' });
    expect(rest.weights).toBe(whole.weights);
    expect(rest.metrics.map(repeatable)).toEqual(whole.metrics.slice(4).map(repeatable));
    const coefficients = whole.metrics.map((each) => each['actor/kl_coef']);
    expect(new Set(coefficients).size).toBeGreaterThan(2); // it adapts
  });

  it('refuses a KL term in rewards that are compared by component', async () => {
    const error = await rejectionOf(trained({ name: 'gdpo', kl: { coef: 0.1, in: 'reward' } }));
    expect(error.code).toBe('INVALID_CONFIG');
    expect(error.message).toContain('algorithm.kl.in: must be loss');
  });
});
