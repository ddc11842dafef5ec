import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { encodePng } from '../../../lib/data/gallery/png.ts';
import type { EncodedPrompt } from '../../../lib/model/qwen3vl/encodePrompt.ts';
import { Policy } from '../../../lib/model/qwen3vl/policy.ts';
import { packSlices, type Slice } from '../../../lib/rollout/packBatch.ts';
import { packageRoot } from '../../../lib/runtime/native.ts';
import type { Group } from '../../../lib/rollout/group.ts';
import { waves, wavyLoss } from '../../support/mixedBatch.ts';
import { onCpu } from '../../support/onCpu.ts';

interface Sequence {
  prompt: EncodedPrompt;
  response: Int32Array;
}

/** Two prompts with a picture each, and eight responses of several lengths behind each. */
async function sequencesOf(policy: Policy): Promise<Sequence[]> {
  const pixels = (seed: number) => Uint8Array.from({ length: 64 * 64 * 3 }, (_, i) => (i * 31 + seed * 17) % 256);
  const prompts = await Promise.all(
    [1, 9].map((times) =>
      policy.encode([
        { type: 'image', image: { bytes: encodePng(pixels(times), 64, 64), name: `picture ${times}` } },
        { type: 'text', text: 'What colour is the square? '.repeat(times) },
      ]),
    ),
  );
  return prompts.flatMap((prompt, p) =>
    Array.from({ length: 8 }, (_, r) => ({
      prompt,
      response: Int32Array.from({ length: 1 + 5 * r + p }, (_, t) => 5 + ((t * 13 + r * 7 + p) % 200)),
    })),
  );
}

/** Sequences that are packed in some order; those of one prompt share it where they stand next to each other, if they are to. */
async function passOf(policy: Policy, all: readonly Sequence[], order: readonly number[], shared: boolean) {
  const groups: Sequence[][] = [];
  for (const i of order)
    if (shared && groups.at(-1)?.[0]!.prompt === all[i]!.prompt) groups.at(-1)!.push(all[i]!);
    else groups.push([all[i]!]);
  const slices = groups.map((group): Slice => {
    const rollouts = group.map(({ response }) => ({ tokens: response }));
    const { prompt } = group[0]!;
    const encoded = { ...prompt, images: prompt.images.map((image) => ({ ...image })) }; // a picture for each that does not share
    return { group: { encoded, rollouts } as unknown as Group, first: 0, from: 0, to: group.length };
  });
  const batch = packSlices(slices, policy.config.vision.merge);
  // a token's part of the loss is its own, wherever it stands
  const starts = all.map((_, i) => all.slice(0, i).reduce((n, { response }) => n + response.length, 0));
  const place = order.flatMap((i) => [...all[i]!.response.keys()].map((t) => starts[i]! + t));
  const own = (list: Float64Array) => Float64Array.from(place, (i) => list[i]!);
  const loss = wavyLoss(batch);
  const n = place.length;
  policy.zeroGradients();
  const { logProbs, entropy } = await policy.forwardBackward(batch, {
    ...loss,
    ...{ advantages: own(waves(n, 3)), entropySlopes: own(waves(n, 1, 1 / n)) },
  });
  const back = (list: ArrayLike<number>) => {
    const values = new Float64Array(n);
    place.forEach((i, at) => (values[i] = list[at]!));
    return values;
  };
  const gradients = await Promise.all(policy.trained.map(({ gradient }) => gradient!.read()));
  return { scores: [back(logProbs), back(entropy)], gradients };
}

const norm = (list: ArrayLike<number>) => Math.sqrt(Array.from(list).reduce((sum, x) => sum + x * x, 0));

// by norm: sums over rows run in another order; what was measured stands in docs/NUMERICS.md
describe.each([
  ['f64', 1e-13],
  ['f32', 1e-5],
] as const)('eight responses behind one prompt with a picture, in %s', (dtype, bound) => {
  it('have the bits of eight sequences, in any order, and their gradient to rounding', async () => {
    using policy = await Policy.load(join(packageRoot, 'assets', 'quickstart', 'policy'), { dtype });
    const all = await sequencesOf(policy);
    const order = [...all.keys()];
    const apart = await passOf(policy, all, order, false);
    const stirred = order.toSorted((i, j) => ((i * 5 + 3) % 16) - ((j * 5 + 3) % 16));
    const others = {
      shared: await passOf(policy, all, order, true),
      'shared, the other way round': await passOf(policy, all, order.toReversed(), true),
      'apart, stirred': await passOf(policy, all, stirred, false),
    };
    for (const [name, other] of Object.entries(others)) {
      if (onCpu) expect(other.scores, name).toEqual(apart.scores); // of a GPU's no bits are compared
      other.gradients.forEach((g, k) => {
        const wanted = apart.gradients[k]!;
        const off = norm(wanted.map((x, i) => x - g[i]!)) / norm(wanted);
        expect(off, `${name}: ${policy.trained[k]!.name}`).toBeLessThan(bound);
      });
    }
  });
});
