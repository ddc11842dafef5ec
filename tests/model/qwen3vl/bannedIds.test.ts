import { afterAll, beforeAll, expect, it } from 'vitest';
import type { EncodedPrompt } from '../../../lib/model/qwen3vl/encodePrompt.ts';
import { Policy, type SamplingOptions } from '../../../lib/model/qwen3vl/policy.ts';
import { packPrompts } from '../../../lib/model/qwen3vl/policyBatch.ts';
import { PLACEHOLDERS } from '../../support/placeholders.ts';
import { writeGoldenCheckpoint } from '../../support/syntheticCheckpoint.ts';

const WAYS: Record<string, Partial<SamplingOptions>> = {
  greedily: { temperature: 0 },
  'at temperature 1': {},
  'from the likeliest alone': { topK: 1 },
  'from a nucleus that it fills': { topP: 0.1 },
};

let policy: Policy;
let prompt: EncodedPrompt;
/** the head, which is tied */
let head: Policy['parameters'][number]['weight'];
let values: Float32Array;
beforeAll(async () => {
  policy = await Policy.load(await writeGoldenCheckpoint('nano'), { trained: false });
  head = policy.parameters.find(({ name }) => name.endsWith('embed_tokens.weight'))!.weight;
  values = Float32Array.from(await head.read());
  prompt = await policy.encode([{ type: 'text', text: 'show me' }]);
});
afterAll(() => policy.dispose());

/** Makes an id alone the likeliest by far behind the prompt: its row of the head is long, and on the side of the hidden state. */
async function prefer(id: number): Promise<void> {
  const { hidden } = policy.config.text;
  const last = Int32Array.of(prompt.inputIds.length - 1);
  for (const sign of [1, -1]) {
    head.write(values.map((w, i) => (Math.floor(i / hidden) === id ? sign * 50 * Math.sin(i + 1) : w)));
    const logits = await policy.logits(packPrompts([prompt], policy.config.vision.merge), last);
    const others = logits.filter((_, i) => i !== id);
    if (logits[id]! > Math.max(...others) + 20) return;
  }
  expect.unreachable('neither side makes it the likeliest');
}

it.each(PLACEHOLDERS)('%s is never sampled, however likely it is', async (name) => {
  await prefer(policy.tokenizer.idOf(name)!);
  const banned = PLACEHOLDERS.map((each) => policy.tokenizer.idOf(each)!);
  for (const [way, options] of Object.entries(WAYS)) {
    const [responses] = await policy.generate([prompt], { n: 4, maxTokens: 12, stopIds: [], seed: 3, ...options });
    for (const { tokens, logProbs } of responses!) {
      for (const id of tokens) expect(banned, way).not.toContain(id);
      expect(logProbs[0], way).toBeLessThan(-19); // what was taken is as unlikely as the policy finds it
    }
  }
});
