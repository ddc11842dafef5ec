import { encodePng } from '../../lib/data/gallery/png.ts';
import type { EncodedPrompt } from '../../lib/model/qwen3vl/encodePrompt.ts';
import type { Generated, Policy, SamplingRequest } from '../../lib/model/qwen3vl/policy.ts';
import { onCpu } from './onCpu.ts';

const picture = (side: number, i: number) =>
  encodePng(
    Uint8Array.from({ length: side * side * 3 }, (_, p) => (p * 31 + i * 17) % 256),
    side,
    side,
  );

/** Prompts of the shipped policy: a question, one with a picture, and a long one whose pictures lie across parts of 128 tokens. */
export async function shippedPrompts(policy: Policy): Promise<Record<'short' | 'shown' | 'long', EncodedPrompt>> {
  const text = (words: string) => ({ type: 'text' as const, text: words });
  const image = (i: number) => ({ type: 'image' as const, image: { bytes: picture(96, i), name: `picture ${i}` } });
  const lines = 'What colour is the square? '.repeat(6);
  const [short, shown, long] = await Promise.all([
    policy.encode([text('What colour is the square?')]),
    policy.encode([image(1), text('What colour is the square?')]),
    policy.encode([text(lines), image(1), text(lines), image(2), text(lines), image(3), text(lines), text(lines)]),
  ]);
  return { short, shown, long };
}

/** All that a response consists of, its reals as bits. */
export const bitsOf = (responses: readonly Generated[]): unknown[] =>
  responses.map(({ tokens, logProbs, entropy, finish }) => {
    // on a GPU the bits of a product depend on how many rows it has
    if (!onCpu)
      return { answered: tokens.length > 0 && logProbs.every((x) => x <= 0) && entropy.every((x) => x >= -1e-3) };
    return {
      tokens: [...tokens],
      finish,
      reals: [logProbs, entropy].map((x) => Buffer.from(x.buffer, x.byteOffset, x.byteLength).toString('hex')),
    };
  });

/** What requests come to, each asked by itself. */
export async function oneByOne(policy: Policy, requests: readonly SamplingRequest[]): Promise<unknown[]> {
  const all = [];
  for (const request of requests) all.push(bitsOf(await policy.submit(request)));
  return all;
}
