import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { EncodedPrompt } from '../../../lib/model/qwen3vl/encodePrompt.ts';
import { Policy } from '../../../lib/model/qwen3vl/policy.ts';
import {
  encodedPrompt,
  followedBy,
  packSequences,
  type GoldenSequence,
} from '../../../scripts/golden/model/sequences.ts';
import { goldenJson } from '../../support/goldenModel.ts';
import { onCpu, productsRound } from '../../support/onCpu.ts';
import { writeGoldenCheckpoint, type GoldenCheckpoint } from '../../support/syntheticCheckpoint.ts';

// where activations are rounded to bf16, decoding does so at the same places as the full forward, and adds some up in another order: a few roundings fall otherwise
const tolerance = !productsRound() ? { mean: 1e-5, most: 1e-4 } : { mean: 0.02, most: 0.15 };
// where experts are near in rank, a rounding chooses another one
const ofExperts = !productsRound() ? tolerance : { mean: 0.04, most: 0.4 };

describe.each<[GoldenCheckpoint, string]>([
  ['tiny', 'generate_reppen'],
  ['tiny-untied', 'generate'],
  ['tiny-moe', 'generate_reppen'],
])('%s in bf16', (name, file) => {
  const { prompt: sequence } = goldenJson<{ prompt: GoldenSequence }>(`cases/${name}/${file}.json`);
  let policy: Policy;
  let prompt: EncodedPrompt;
  beforeAll(async () => {
    policy = await Policy.load(await writeGoldenCheckpoint(name, { dtype: 'bfloat16' }), {
      dtype: 'bf16',
      trained: false,
    });
    prompt = encodedPrompt(sequence, policy.config);
  });
  afterAll(() => policy.dispose());

  it.each([1, 3, 20])('decodes %i rollouts as the full forward scores them', async (n) => {
    const options = { n, maxTokens: 6, temperature: 0.8, seed: 5 };
    const group = (await policy.generate([prompt], options))[0]!;
    const batch = packSequences(
      group.map(({ tokens }) => followedBy(sequence, [...tokens])),
      policy.config,
    );
    const { logProbs } = await policy.forward(batch, { temperature: 0.8 });
    const sampled = group.flatMap((g) => [...g.logProbs]);
    const off = sampled.map((v, i) => Math.abs(v - logProbs[i]!));
    const { mean, most } = policy.config.text.moe ? ofExperts : tolerance;
    expect(off.reduce((sum, x) => sum + x, 0) / off.length).toBeLessThan(mean);
    expect(Math.max(...off)).toBeLessThan(most);
  });

  it('gives a rollout the same bits beside few and beside many', async ({ skip }) => {
    if (!onCpu && policy.config.text.moe) skip('on a GPU the bits of experts depend on how many rows they have');
    const options = { maxTokens: 5, temperature: 0.8, seed: 7 };
    const of = async (n: number) =>
      (await policy.generate([prompt], { ...options, n }))[0]!.slice(0, 2).map((g) => [...g.tokens, ...g.logProbs]);
    const few = await of(2);
    for (const n of [5, 20]) expect(await of(n)).toEqual(few);
  });
});
