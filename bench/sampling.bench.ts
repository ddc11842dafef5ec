// Sampling of policies by size, beside generate of transformers on the same prompts; and what computing a prompt once for all its
// rollouts saves.
import type { ModelSize } from './support/modelSizes.ts';
import { askPeer, forSizes, peerName, sizeOf, type Variant } from './support/policyPeer.ts';
import { promptOf, writeSequences } from './support/sequences.ts';
import { howTimed, inTurns, secondsOf } from './support/turns.ts';

const [PROMPTS, ROLLOUTS, TOKENS] = [16, 8, 32];
const VISUAL: Record<ModelSize, number[]> = { tiny: [16, 64], small: [16], text: [0] };

export const variants: Variant[] = ['tiny', 'tiny-bf16', 'small', 'small-bf16', 'text', 'text-bf16'];

export default async function samplingBench(chosen: Variant[]): Promise<void> {
  await forSizes(chosen, async ({ policy, peer, dir, threads }, variant) => {
    for (const visual of VISUAL[sizeOf(variant)]) {
      const prompts = Array.from({ length: PROMPTS }, () => promptOf(policy, { visual, text: 16 }));
      const apart = prompts.flatMap((prompt) => Array<typeof prompt>(ROLLOUTS).fill(prompt));
      await peer?.ask({
        load: await writeSequences(
          policy,
          dir,
          'prompts',
          prompts.map((prompt) => ({ prompt })),
        ),
        responses: 0,
      });
      const settings = { maxTokens: TOKENS, seed: 1 };
      await inTurns(
        `sampling ${variant}, ${PROMPTS} × ${ROLLOUTS} × ${TOKENS}, prompts of ${visual} visual + 16; ${howTimed(threads, 5)}`,
        {
          ours: () => secondsOf(() => policy.generate(prompts, { ...settings, n: ROLLOUTS })),
          'prompts not shared': () => secondsOf(() => policy.generate(apart, settings)),
          ...(peer && { [peerName(peer.ready)]: askPeer(peer, { work: 'generate', n: ROLLOUTS, tokens: TOKENS }) }),
        },
        { threads },
      );
    }
  });
}
