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

it('lists of stops that are changed behind the call are those of the call', async () => {
  const stops = { stopIds: Int32Array.of(7), stopSequences: [Int32Array.of(7, 7)] };
  const answered = policy.submit({ ...ask(shown), ...(stops as never as Pick<SamplingRequest, 'stopIds'>) });
  stops.stopIds.fill(3);
  stops.stopSequences[0]!.fill(3);
  expect(bitsOf(await answered)).toEqual(alone);
});

it('a prompt and a request whose fields are inherited are those fields', async () => {
  const prompt = Object.create(shown) as EncodedPrompt;
  expect(bitsOf(await policy.submit(Object.create(ask(prompt)) as SamplingRequest))).toEqual(alone);
});

it.each(['inputIds', 'positionIds'] as const)(
  'elements of %s that are no numbers of 32 bits are named',
  async (name) => {
    for (const wrong of [undefined, null, Number.NaN, 7.5, 2 ** 32 + 1, 'abc', 3n]) {
      const list: unknown[] = [...shown[name]];
      list[3] = wrong;
      const prompt = { ...shown, [name]: list } as never as EncodedPrompt;
      expect(await rejectionOf(policy.submit(ask(prompt)))).toMatchObject({
        code: 'INVALID_ARGUMENT',
        message: expect.stringContaining(`${name}[3] must be a whole number of 32 bits`) as string,
      });
    }
  },
);

it('lists of prompts and of sequences with holes are refused at the first', async () => {
  const holes = Object.assign([], { length: 1e9 }) as number[][];
  expect(await rejectionOf(policy.submit({ ...ask(shown), stopSequences: holes }))).toMatchObject({
    message: expect.stringContaining('stopSequences[0] must be a list; got undefined') as string,
  });
  expect(await rejectionOf(policy.generate(new Array<EncodedPrompt>(2), { maxTokens: 2 }))).toMatchObject({
    code: 'INVALID_ARGUMENT',
  });
});
