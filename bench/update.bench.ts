// An update (forward, loss, backward, clipping, AdamW) of policies by size, beside transformers and torch on the same sequences; and what
// sharing prompts inside groups saves.
import type { ModelSize } from './support/modelSizes.ts';
import { updateOf } from './support/updateOf.ts';
import { askPeer, forSizes, isBf16, peerName, sizeOf, type PolicyBench, type Variant } from './support/policyPeer.ts';
import { packSequences, promptOf, responseOf, writeSequences, type PromptSize } from './support/sequences.ts';
import { howTimed, inTurns, secondsOf } from './support/turns.ts';

const RESPONSE = 32;
/** Sequences of an update, each with a picture of its own. */
const UPDATES: Record<ModelSize, ({ count: number } & PromptSize)[]> = {
  tiny: [16, 64].map((visual) => ({ count: 64, visual, text: 16 })),
  small: [{ count: 64, visual: 16, text: 16 }],
  text: [{ count: 16, visual: 0, text: 16 }],
};
const GROUPS = { prompts: 8, rollouts: 8, visual: 0, text: 80 };

export const variants: Variant[] = ['tiny', 'tiny-bf16', 'small', 'small-bf16', 'text', 'text-bf16'];

export default async function updateBench(chosen: Variant[]): Promise<void> {
  await forSizes(chosen, async (bench, variant) => {
    for (const shape of UPDATES[sizeOf(variant)]) await besidePeer(bench, variant, shape);
    if (sizeOf(variant) !== 'text') await shared(bench, variant);
  });
}

async function besidePeer(
  { policy, peer, dir, threads }: PolicyBench,
  variant: Variant,
  shape: { count: number } & PromptSize,
) {
  const sequences = Array.from({ length: shape.count }, () => ({
    prompt: promptOf(policy, shape),
    response: responseOf(policy, RESPONSE),
  }));
  const batch = packSequences(policy, sequences);
  if (peer) {
    const { logProbs } = await peer.ask<{ logProbs: number }>({
      load: await writeSequences(policy, dir, 'update', sequences),
      responses: RESPONSE,
    });
    const own = (await policy.forward(batch)).logProbs;
    const mean = [...own].reduce((a, b) => a + b, 0) / own.length;
    if (!(Math.abs(mean - logProbs) < (isBf16(variant) ? 1e-2 : 1e-4)))
      throw new Error(`update: ours computes ${mean}, the peer ${logProbs}`);
  }
  const update = updateOf(policy, batch, RESPONSE);
  await inTurns(
    `update ${variant}, ${shape.count} × (${shape.visual} visual + ${shape.text} + ${RESPONSE}); ${howTimed(threads, 5)}`,
    { ours: () => secondsOf(update), ...(peer && { [peerName(peer.ready)]: askPeer(peer, { work: 'update' }) }) },
    { threads },
  );
  update.dispose();
}

/** Prompts of text: pictures are computed once in any case. */
async function shared({ policy, threads }: PolicyBench, variant: Variant) {
  const prompts = Array.from({ length: GROUPS.prompts }, () => promptOf(policy, GROUPS));
  const sequences = prompts.flatMap((prompt) =>
    Array.from({ length: GROUPS.rollouts }, () => ({ prompt, response: responseOf(policy, RESPONSE) })),
  );
  const [once, anew] = [true, false].map((share) =>
    updateOf(policy, packSequences(policy, sequences, share), RESPONSE),
  );
  await inTurns(
    `update ${variant}, ${GROUPS.prompts} prompts of ${GROUPS.text} × ${GROUPS.rollouts} responses of ${RESPONSE}; ${howTimed(threads, 5)}`,
    { 'prompts shared': () => secondsOf(once!), 'not shared': () => secondsOf(anew!) },
    { threads },
  );
  once!.dispose();
  anew!.dispose();
}
