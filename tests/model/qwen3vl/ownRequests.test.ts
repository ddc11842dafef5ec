import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { EncodedPrompt } from '../../../lib/model/qwen3vl/encodePrompt.ts';
import { Policy, type SamplingRequest } from '../../../lib/model/qwen3vl/policy.ts';
import { packageRoot } from '../../../lib/runtime/native.ts';
import { bitsOf, shippedPrompts } from '../../support/askedPrompts.ts';
import { detached } from '../../support/detached.ts';
import { rejectionOf } from '../../support/thrown.ts';

let policy: Policy;
let shown: EncodedPrompt;
let alone: unknown;
beforeAll(async () => {
  policy = await Policy.load(join(packageRoot, 'assets', 'quickstart', 'policy'), { trained: false });
  shown = (await shippedPrompts(policy)).shown;
  alone = bitsOf(await policy.submit(ask(shown)));
});
afterAll(() => policy.dispose());

const ask = (prompt: EncodedPrompt): SamplingRequest => ({ prompt, n: 2, maxTokens: 8, seed: 5, stopIds: [7] });
const own = (): EncodedPrompt => ({
  ...shown,
  inputIds: shown.inputIds.slice(),
  positionIds: shown.positionIds.slice(),
  visualRows: shown.visualRows.slice(),
  images: shown.images.map((image) => ({ ...image, pixels: image.pixels.slice() })),
});

it.each<[string, (prompt: EncodedPrompt) => void]>([
  ['changed', ({ inputIds, positionIds, visualRows }) => [inputIds, positionIds, visualRows].map((list) => list.fill(1))], // prettier-ignore
  ['given away', ({ inputIds, positionIds, visualRows }) => [inputIds, positionIds, visualRows].map(detached)],
  ['replaced', (prompt) => Object.assign(prompt, { inputIds: new Int32Array(3), ropeDelta: 9, images: null })],
  ['robbed of its pictures', ({ images }) => images.splice(0)],
])('a prompt that is %s behind the call is that of the call', async (_, change) => {
  const prompt = own();
  const answered = policy.submit(ask(prompt));
  change(prompt);
  expect(bitsOf(await answered)).toEqual(alone);
});

it('pixels that are changed in a later turn are those of the call', async () => {
  const prompt = own();
  const answered = policy.submit(ask(prompt));
  await turn();
  for (const { pixels } of prompt.images) pixels.fill(0);
  expect(bitsOf(await answered)).toEqual(alone);
});

it('pixels that are given away before they are copied are named, and nothing else is disturbed', async () => {
  const prompt = own();
  const [bad, good] = [rejectionOf(policy.submit(ask(prompt))), policy.submit(ask(shown))];
  detached(prompt.images[0]!.pixels);
  expect(await bad).toMatchObject({
    code: 'INVALID_ARGUMENT',
    message: 'policy: images[0].pixels must be a list with its memory; got Uint8Array whose buffer is detached',
  });
  expect(bitsOf(await good)).toEqual(alone);
});

it('plain lists of ids and positions are taken as well', async () => {
  const lists = { inputIds: [...shown.inputIds], positionIds: [...shown.positionIds] };
  expect(bitsOf(await policy.submit(ask({ ...shown, ...(lists as never as object) })))).toEqual(alone);
});
