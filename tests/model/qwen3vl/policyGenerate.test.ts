import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Policy, type PolicyBatch } from '../../../lib/model/qwen3vl/policy.ts';
import {
  encodedPrompt,
  followedBy,
  packSequences,
  type GoldenSequence,
} from '../../../scripts/golden/model/sequences.ts';
import { goldenJson } from '../../support/goldenModel.ts';
import { writeGoldenCheckpoint, type GoldenCheckpoint } from '../../support/syntheticCheckpoint.ts';
import { wantCpu } from '../../support/onCpu.ts';

interface GenerationCase {
  prompt: GoldenSequence;
}

for (const [name, file] of [
  ['tiny', 'generate'],
  ['tiny', 'generate_reppen'],
  ['tiny-untied', 'generate'],
  ['nano', 'generate_reppen'],
  ['tiny-moe', 'generate_reppen'],
] as [GoldenCheckpoint, string][])
  describe(`${name}: ${file}`, () => {
    const c = goldenJson<GenerationCase>(`cases/${name}/${file}.json`);
    let policy: Policy;
    beforeAll(async () => {
      policy = await Policy.load(await writeGoldenCheckpoint(name));
    });
    afterAll(() => policy.dispose());

    it('gives the same bits to few rollouts, which read weights as they are, and to many, which pack them', async ({
      skip,
    }) => {
      wantCpu(skip, 'on a GPU the bits of a product depend on how many rows it has');
      const options = { maxTokens: 6, temperature: 0.8, seed: 5 };
      const prompt = encodedPrompt(c.prompt, policy.config);
      const [few, many] = [
        await policy.generate([prompt], { ...options, n: 3 }),
        await policy.generate([prompt], { ...options, n: 24 }),
      ];
      expect(many[0]!.slice(0, 3).map((g) => [...g.tokens, ...g.logProbs])).toEqual(
        few[0]!.map((g) => [...g.tokens, ...g.logProbs]),
      );
    });

    it('agrees with the full forward on tokens that it sampled, alone, in a group, and behind a shared prompt', async () => {
      const options = { maxTokens: 12, temperature: 0.8, seed: 5, step: 3 };
      const prompt = encodedPrompt(c.prompt, policy.config);
      const group = (await policy.generate([prompt, prompt], { ...options, n: 3 })).flat();
      const alone = (await policy.generate([prompt], { ...options, rolloutOffset: 4 })).flat()[0]!;
      expect(alone.tokens).toEqual(group[4]!.tokens); // the draw depends on the rollout's number, not on the batch
      const separate = packSequences(
        group.map((g) => followedBy(c.prompt, [...g.tokens])),
        policy.config,
      );
      const shared = behindOnePrompt(
        c.prompt,
        group.map((g) => [...g.tokens]),
        policy,
      );
      const sampled = group.flatMap((g) => [...g.logProbs]);
      for (const batch of [separate, shared]) {
        const { logProbs } = await policy.forward(batch, { temperature: 0.8 });
        expect(logProbs.length).toBe(sampled.length);
        logProbs.forEach((v, i) => expect(Math.abs(v - sampled[i]!), `token ${i}`).toBeLessThan(1e-4));
      }
    });
  });

it('decodes long responses as the full forward scores them, whose keys outgrow the first cache', async () => {
  const c = goldenJson<GenerationCase>('cases/nano/generate_reppen.json');
  const policy = await Policy.load(await writeGoldenCheckpoint('nano'));
  const options = { n: 2, maxTokens: 150, temperature: 0 };
  const group = (await policy.generate([encodedPrompt(c.prompt, policy.config)], options))[0]!;
  expect(Math.max(...group.map((g) => g.tokens.length))).toBeGreaterThan(128);
  const batch = packSequences(
    group.map((g) => followedBy(c.prompt, [...g.tokens])),
    policy.config,
  );
  const { logProbs } = await policy.forward(batch);
  const sampled = group.flatMap((g) => [...g.logProbs]);
  logProbs.forEach((v, i) => expect(Math.abs(v - sampled[i]!), `token ${i}`).toBeLessThan(1e-4));
  policy.dispose();
});

/** One copy of the prompt, each response a segment that sees it. */
function behindOnePrompt(s: GoldenSequence, responses: number[][], policy: Policy): PolicyBatch {
  const one = packSequences([s], policy.config);
  const length = s.input_ids.length;
  const [ids, positions, starts, rows, targets]: number[][] = [[...s.input_ids], [], [0, length], [], []];
  const axes = s.position_ids.map((axis) => [...axis]);
  for (const response of responses) {
    response.forEach((id, t) => {
      rows!.push(t === 0 ? length - 1 : ids!.length - 1);
      targets!.push(id);
      if (t + 1 === response.length) return;
      ids!.push(id);
      for (const axis of axes) axis.push(length + s.rope_delta + t);
    });
    starts!.push(ids!.length);
  }
  positions!.push(...axes.flat());
  return {
    ...one,
    inputIds: Int32Array.from(ids!),
    positionIds: Int32Array.from(positions!),
    segmentStarts: Int32Array.from(starts!),
    segmentPrefix: Int32Array.from([-1, ...responses.map(() => 0)]),
    targetRows: Int32Array.from(rows!),
    targetIds: Int32Array.from(targets!),
  };
}
