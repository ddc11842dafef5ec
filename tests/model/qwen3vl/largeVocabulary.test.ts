import { afterAll, describe, expect, it } from 'vitest';
import { sample } from '../../../lib/kernels/sample.ts';
import type { EncodedPrompt } from '../../../lib/model/qwen3vl/encodePrompt.ts';
import { Policy, type SamplingRequest } from '../../../lib/model/qwen3vl/policy.ts';
import { packPrompts } from '../../../lib/model/qwen3vl/policyBatch.ts';
import { native } from '../../../lib/runtime/native.ts';
import { bitsOf, oneByOne } from '../../support/askedPrompts.ts';
import { PLACEHOLDERS } from '../../support/placeholders.ts';
import { writeNano } from '../../support/syntheticCheckpoint.ts';
import { runKernel, shaped } from '../../support/testKernel.ts';

// three slices of the vocabulary, and a part of one
const path = await writeNano({ vocab_size: 3000 });
const together = async (policy: Policy, requests: readonly SamplingRequest[]) =>
  (await Promise.all(requests.map((request) => policy.submit(request)))).map(bitsOf);
/** The prompt and what was answered, as a prompt. */
const followed = (prompt: EncodedPrompt, tokens: Int32Array): EncodedPrompt => {
  const inputIds = Int32Array.of(...prompt.inputIds, ...tokens);
  const positionIds = Int32Array.from({ length: 3 * inputIds.length }, (_, i) => i % inputIds.length);
  return { ...prompt, inputIds, positionIds };
};

describe.each(['f32', 'bf16', 'f64'] as const)('in %s', (dtype) => {
  const before = native().threads();
  const open = Policy.load(path, { trained: false, dtype });
  afterAll(async () => {
    native().setThreads(before);
    (await open).dispose();
  });
  const ask = async () => {
    const prompt = await (await open).encode([{ type: 'text', text: 'show me' }]);
    const common = { prompt, maxTokens: 6, stopIds: [], seed: 5 };
    return [
      { ...common, n: 21 },
      { ...common, n: 3, temperature: 0.6, step: 1 },
      { ...common, n: 1, temperature: 0 },
      { ...common, n: 2, topK: 30 },
      { ...common, n: 2, temperature: 0, repetitionPenalty: 1.5 },
      { ...common, n: 4, temperature: 1.4, rolloutOffset: 3 },
    ];
  };

  it('draws the same bits alone and with others, by weights as they are and packed, on any number of threads', async () => {
    const [policy, requests] = [await open, await ask()];
    native().setThreads(1);
    const alone = await oneByOne(policy, requests);
    expect(await together(policy, requests)).toEqual(alone);
    for (const threads of [2, 5]) {
      native().setThreads(threads);
      expect(await together(policy, requests.toReversed()), `${threads} threads`).toEqual(alone.toReversed());
    }
  });

  it('draws what the kernel draws of all logits', async () => {
    const [policy, requests] = [await open, await ask()];
    for (const request of requests) {
      const { prompt, seed, n, temperature = 1, topK = 0, repetitionPenalty = 1 } = { ...request } as SamplingRequest;
      const responses = await policy.submit(request);
      for (const [r, { tokens, logProbs, entropy }] of responses.slice(0, 3).entries()) {
        const seen = new Uint8Array(3000);
        for (const id of prompt.inputIds) seen[id] = 1;
        for (let t = 0; t < tokens.length; t++) {
          const all = followed(prompt, tokens.subarray(0, t));
          const logits = await policy.logits(
            packPrompts([all], policy.config.vision.merge),
            Int32Array.of(all.inputIds.length - 1),
          );
          const { step = 0, rolloutOffset = 0 } = request as SamplingRequest;
          const drawn = await runKernel(
            sample,
            {
              logits: shaped(Float64Array.from(logits), 1, 3000),
              keys: [[seed!, step, rolloutOffset + r, t]],
              allowed: Uint8Array.from({ length: 3000 }, (_, id) => Number(!banned(policy).includes(id))),
              ...{ seen: shaped(seen, 1, 3000), temperature, topK, repetitionPenalty },
            },
            dtype === 'f64' ? 'f64' : 'f32',
          );
          expect(tokens[t], `${n} rollouts, token ${t} of ${r}`).toBe(drawn['tokens']![0]);
          expect(logProbs[t]!).toBeCloseTo(drawn['logProbs']![0]!, 4);
          expect(entropy[t]!).toBeCloseTo(drawn['entropy']![0]!, 4);
          seen[tokens[t]!] = 1;
        }
      }
    }
  });
});

it('names the row of a request whose logits are not finite, wherever in the vocabulary', async () => {
  const policy = await Policy.load(path, { trained: false });
  const weight = policy.parameters.find(({ name }) => name.endsWith('embed_tokens.weight'))!.weight;
  const values = Float32Array.from(await weight.read());
  values[2990 * policy.config.text.hidden] = Number.NaN;
  weight.write(values);
  const prompt = await policy.encode([{ type: 'text', text: 'show me' }]);
  for (const n of [1, 20])
    await expect(policy.generate([prompt], { n, maxTokens: 3 })).rejects.toMatchObject({
      code: 'NON_FINITE',
      message: expect.stringMatching(/sample: row 0 of logits holds NaN/) as string,
    });
  policy.dispose();
});

const banned = ({ tokenizer }: Policy) => PLACEHOLDERS.map((name) => tokenizer.idOf(name)!);
