import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Policy, type PolicyBatch } from '../../../lib/model/qwen3vl/policy.ts';
import { isMatrix, readWide } from '../../../lib/model/qwen3vl/parameter.ts';
import { encodedPrompt, type GoldenSequence } from '../../../scripts/golden/model/sequences.ts';
import { goldenJson } from '../../support/goldenModel.ts';
import { mixedBatch, wavyLoss } from '../../support/mixedBatch.ts';
import { writeGoldenCheckpoint, writeNanoMoe, type GoldenCheckpoint } from '../../support/syntheticCheckpoint.ts';
import { rejectionOf } from '../../support/thrown.ts';
import { wantExactProducts } from '../../support/onCpu.ts';

const stored = { dtype: 'bfloat16' } as const;
const casesOf: Partial<Record<GoldenCheckpoint, string[]>> = {
  tiny: ['mixed', 'text_only'],
  'tiny-untied': ['image_one', 'text_only'],
  'tiny-moe': ['mixed'],
};

for (const name of ['tiny', 'tiny-untied', 'tiny-moe'] as const)
  describe(`${name}, stored in bf16`, () => {
    let wide: Policy;
    let narrow: Policy;
    let batch: PolicyBatch;
    beforeAll(async () => {
      const dir = await writeGoldenCheckpoint(name, stored);
      [wide, narrow] = [await Policy.load(dir), await Policy.load(dir, { dtype: 'bf16' })];
      batch = mixedBatch(name, casesOf[name]!, wide.config);
    });
    afterAll(() => [wide, narrow].forEach((policy) => policy.dispose()));

    it('keeps matrices in bf16, and nothing twice', () => {
      expect(narrow.dtype).toBe('f32');
      for (const { weight, gradient, ...parameter } of narrow.parameters) {
        expect(weight.dtype, parameter.name).toBe(isMatrix(parameter) ? 'bf16' : 'f32');
        expect(gradient?.dtype).toBe('f32');
      }
      const bytes = (policy: Policy) =>
        policy.parameters.reduce((sum, { weight }) => sum + weight.size * (weight.dtype === 'bf16' ? 2 : 4), 0);
      expect(bytes(narrow)).toBeLessThan(0.6 * bytes(wide));
    });

    it('is as near to the same weights in f32 as rounding can bring it', async () => {
      const mean = (values: number[]) => values.reduce((sum, x) => sum + x, 0) / values.length;
      const [near, far] = [await narrow.forward(batch), await wide.forward(batch)];
      expect(mean([...near.logProbs].map((x, i) => Math.abs(x - far.logProbs[i]!)))).toBeLessThan(0.02);
      const dot = (a: ArrayLike<number>, b: ArrayLike<number>) =>
        Array.from(a).reduce((sum, x, i) => sum + x * b[i]!, 0);
      const levels = await wide.features(batch.images);
      for (const [l, level] of (await narrow.features(batch.images)).entries()) {
        const same = levels[l]!;
        expect(dot(level, same) / Math.sqrt(dot(level, level) * dot(same, same))).toBeGreaterThan(0.9999);
      }
    });

    it('has the same likeliest token in more than 98 rows of 100', async () => {
      const rows = Int32Array.from(batch.inputIds.keys());
      const likeliest = async (policy: Policy) => {
        const [all, { vocab }] = [await policy.logits(batch, rows), policy.config.text];
        return [...rows].map((row) => {
          const own = all.subarray(row * vocab, (row + 1) * vocab);
          return own.indexOf(Math.max(...own));
        });
      };
      const [near, far] = [await likeliest(narrow), await likeliest(wide)];
      expect(near.filter((id, row) => id === far[row]).length).toBeGreaterThan(0.98 * rows.length);
    });

    it('has gradients as near to theirs', async () => {
      const loss = wavyLoss(batch);
      for (const policy of [wide, narrow]) {
        policy.zeroGradients();
        await policy.forwardBackward(batch, loss);
      }
      for (const [k, { name: parameter, gradient }] of narrow.trained.entries()) {
        const [near, far] = [await gradient!.read(), await wide.trained[k]!.gradient!.read()];
        const norm = (values: ArrayLike<number>) => Math.sqrt(Array.from(values).reduce((sum, x) => sum + x * x, 0));
        // a fifth of a hundredth by a rounding of 2⁻⁹, and there are as many behind each other as layers have products
        expect(norm(near.map((x, i) => x - far[i]!)), parameter).toBeLessThanOrEqual(0.05 * norm(far));
      }
    });

    it('computes the bits that the same weights in f32 give: scores, losses, gradients, features, logits', async ({
      skip,
    }) => {
      wantExactProducts(skip);
      expect(await narrow.forward(batch, { temperature: 0.7 })).toEqual(
        await wide.forward(batch, { temperature: 0.7 }),
      );
      const loss = wavyLoss(batch);
      for (const policy of [wide, narrow]) policy.zeroGradients();
      expect(await narrow.forwardBackward(batch, loss)).toEqual(await wide.forwardBackward(batch, loss));
      for (const [k, { name: parameter, gradient }] of narrow.trained.entries()) {
        const [got, same] = [await gradient!.read(), await wide.trained[k]!.gradient!.read()];
        expect(Buffer.from(got.buffer).equals(Buffer.from(same.buffer)), parameter).toBe(true);
      }
      expect(await narrow.features(batch.images)).toEqual(await wide.features(batch.images));
      const rows = Int32Array.of(0, 3);
      expect(await narrow.logits(batch, rows)).toEqual(await wide.logits(batch, rows));
    });

    it('samples the same tokens, few and many', async ({ skip }) => {
      wantExactProducts(skip);
      const { prompt } = goldenJson<{ prompt: GoldenSequence }>(
        `cases/${name}/${name === 'tiny-untied' ? 'generate' : 'generate_reppen'}.json`,
      );
      const encoded = encodedPrompt(prompt, wide.config);
      for (const n of [1, 3, 12, 24]) {
        const options = { n, maxTokens: 5, temperature: 0.8, seed: 5 };
        expect(await narrow.generate([encoded], options)).toEqual(await wide.generate([encoded], options));
      }
    });

    it('is saved as it was read, to the byte', async () => {
      const to = join(mkdtempSync(join(tmpdir(), 'g2rpo-')), 'saved');
      await narrow.save(to);
      const file = 'model.safetensors';
      expect(readFileSync(join(to, file)).equals(readFileSync(join(narrow.dir, file)))).toBe(true);
    });
  });

describe('weights that bf16 does not have', () => {
  it('are rounded to the nearest; norms, biases, positions and routers are not', async () => {
    const dir = await writeNanoMoe({}, { dtype: 'float32' });
    const [wide, narrow] = [await Policy.load(dir), await Policy.load(dir, { dtype: 'bf16' })];
    let changed = 0;
    for (const [k, parameter] of narrow.parameters.entries()) {
      const [got, exact] = [await readWide(parameter.weight), await readWide(wide.parameters[k]!.weight)];
      if (!isMatrix(parameter)) expect(got, parameter.name).toEqual(exact);
      else if (got.some((x, i) => x !== exact[i])) changed++;
      expect(got.every((x, i) => Math.abs(x - exact[i]!) <= 2 ** -8 * Math.abs(exact[i]!))).toBe(true);
    }
    expect(changed).toBeGreaterThan(10);
    [wide, narrow].forEach((policy) => policy.dispose());
  });
});

describe('LoRA over a base in bf16', () => {
  const lora = { rank: 2, alpha: 4, targets: ['q_proj', 'down_proj'], seed: 3 };
  it('merges into f32, so that changes far below the distance of neighbours count', async () => {
    const dir = await writeGoldenCheckpoint('tiny', stored);
    const policy = await Policy.load(dir, { dtype: 'bf16', lora });
    const kinds = (target: RegExp) =>
      new Set(policy.parameters.filter(({ name }) => target.test(name)).map(({ weight }) => weight.dtype));
    expect(kinds(/language_model.*(q_proj|down_proj)/)).toEqual(new Set(['f32']));
    expect(kinds(/language_model.*(v_proj|up_proj)/)).toEqual(new Set(['bf16']));
    const batch = mixedBatch('tiny', ['text_only'], policy.config);
    const before = await policy.forward(batch);
    for (const { weight } of policy.trained) weight.write(new Float32Array(weight.size).fill(1e-3));
    policy.refresh(); // changes of 4e-6, beside weights of some 1e-2
    expect(await policy.forward(batch)).not.toEqual(before);
    policy.dispose();
  });
  it('an adapter is not merged into weights that are trained in bf16, but is for being asked', async () => {
    const dir = await writeGoldenCheckpoint('tiny', stored);
    const adapter = join(mkdtempSync(join(tmpdir(), 'g2rpo-')), 'adapter');
    const trained = await Policy.load(dir, { dtype: 'bf16', lora });
    await trained.saveAdapter(adapter);
    trained.dispose();
    expect(await rejectionOf(Policy.load(dir, { dtype: 'bf16', adapter }))).toMatchObject({
      code: 'INVALID_CONFIG',
      message: expect.stringMatching(/^policy\.adapter: .*policy\.weights: f32/) as string,
    });
    (await Policy.load(dir, { dtype: 'bf16', adapter, trained: false })).dispose();
  });
});
