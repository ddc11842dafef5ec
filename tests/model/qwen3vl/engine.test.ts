import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { join } from 'node:path';
import { Policy, type EngineOptions, type Generated, type SamplingRequest } from '../../../lib/model/qwen3vl/policy.ts';
import { native, packageRoot } from '../../../lib/runtime/native.ts';
import { encodedPrompt, type GoldenSequence } from '../../../scripts/golden/model/sequences.ts';
import { bitsOf, oneByOne, shippedPrompts } from '../../support/askedPrompts.ts';
import { goldenJson } from '../../support/goldenModel.ts';
import { onCpu, productsRound } from '../../support/onCpu.ts';
import { writeGoldenCheckpoint } from '../../support/syntheticCheckpoint.ts';

const shipped = join(packageRoot, 'assets', 'quickstart', 'policy');
// where the CPU rounds what weights in bf16 are multiplied by, they are asked
const dtype = onCpu && productsRound() ? 'bf16' : 'f32';
const load = (engine: EngineOptions = {}, path = shipped) => Policy.load(path, { trained: false, dtype, engine });
const together = async (policy: Policy, requests: readonly SamplingRequest[]) =>
  (await Promise.all(requests.map((request) => policy.submit(request)))).map(bitsOf);
/** Bytes of a page in MB, for a limit of so many. */
const megabytes = (pages: number, pageTokens: number, { text }: Policy['config']) =>
  (pages * pageTokens * 8 * text.layers * text.kvHeads * text.headDim) / 1e6;

describe('what is drawn', () => {
  let plain: Policy;
  let requests: SamplingRequest[];
  let alone: unknown[];
  beforeAll(async () => {
    plain = await load();
    const { short, shown, long } = await shippedPrompts(plain);
    expect(long.inputIds.length).toBeGreaterThan(300);
    // responses that end early do not fill a cache: what ends these is a token that is rare
    const common = { maxTokens: 40, seed: 3, stopIds: [7] };
    requests = [
      { ...common, prompt: shown, n: 3, step: 2 },
      { ...common, prompt: long, n: 5, temperature: 0.7, rolloutOffset: 11 },
      { ...common, prompt: short, n: 2, temperature: 1.3, topK: 20, repetitionPenalty: 1.2, maxTokens: 70 },
      { ...common, prompt: short, n: 1, temperature: 0 },
      { ...common, prompt: shown, n: 9, topP: 0.8, seed: 4 },
      { ...common, prompt: long, n: 1, maxTokens: 1 },
    ];
    alone = await oneByOne(plain, requests);
  });
  afterAll(() => plain.dispose());

  it('are tokens and log-probabilities of the same bits, alone and with others, in any order', async () => {
    expect(await together(plain, requests)).toEqual(alone);
    expect((await together(plain, requests.toReversed())).toReversed()).toEqual(alone);
  });

  it('and whenever they come', async () => {
    const all: Promise<Generated[]>[] = [];
    for (const request of requests) {
      all.push(plain.submit(request));
      // the next one finds the others somewhere on their way
      await new Promise((resolve) => setTimeout(resolve, 3));
    }
    expect((await Promise.all(all)).map(bitsOf)).toEqual(alone);
  });

  it.each<[string, EngineOptions]>([
    ['pages of one token', { pageTokens: 1 }],
    ['pages of 7', { pageTokens: 7 }],
    ['pages of 100', { pageTokens: 100 }],
    ['one rollout at a time', { rollouts: 1 }],
    ['four', { rollouts: 4 }],
    ['prompts in parts of 128 rows', { promptRows: 128 }],
    ['in parts of 256', { promptRows: 256, rollouts: 7 }],
  ])('and with %s', async (_, engine) => {
    const policy = await load(engine);
    expect(await together(policy, requests)).toEqual(alone);
    policy.dispose();
  });

  it('and where the cache is so small that rollouts are put off and prompts computed again', async () => {
    const { config } = plain;
    const page = 16;
    const pagesOf = (tokens: number) => Math.ceil(tokens / page);
    const needs = requests.map(({ prompt, maxTokens }) => pagesOf(prompt.inputIds.length) + pagesOf(maxTokens - 1));
    // two rollouts of the long prompt begin behind it, and have not both room to end
    const least = Math.max(...needs);
    for (const spare of [0, 1, 3, 8]) {
      const policy = await load({ cacheMb: megabytes(least + spare, page, config), promptRows: 128 });
      native().profile(true);
      expect(await together(policy, requests), `${least + spare} pages`).toEqual(alone);
      const passes = native()
        .kernelTimes()
        .find(({ name }) => name === 'decode_attention')!.launches;
      native().profile(false);
      // more steps than the longest response has: some have been taken twice
      expect(passes / config.text.layers).toBeGreaterThan(70);
      policy.dispose();
    }
  });

  it('and on any number of threads', async () => {
    const before = native().threads();
    try {
      for (const threads of [1, 3]) {
        native().setThreads(threads);
        expect(await together(plain, requests), `${threads} threads`).toEqual(alone);
      }
    } finally {
      native().setThreads(before);
    }
  });

  it('and where pages have lain about for long', async () => {
    const policy = await load({ rollouts: 6, pageTokens: 4 });
    const many = Array.from({ length: 5 }, () => requests).flat();
    const all = Array.from({ length: 5 }, () => alone).flat();
    expect(await together(policy, many)).toEqual(all);
    policy.dispose();
  });

  it('and in two policies at once', async () => {
    const other = await load({ pageTokens: 3 });
    const [here, there] = await Promise.all([together(plain, requests), together(other, requests)]);
    expect(here).toEqual(alone);
    expect(there).toEqual(alone);
    other.dispose();
  });
});

it('a mixture of experts draws the same bits alone, with others, in small parts and put off', async () => {
  const path = await writeGoldenCheckpoint('tiny-moe');
  const policy = await load({}, path);
  const { prompt: golden } = goldenJson<{ prompt: GoldenSequence }>('cases/tiny-moe/generate_reppen.json');
  const prompt = encodedPrompt(golden, policy.config);
  const requests = [1, 20, 3].map((n, i) => ({ prompt, n, maxTokens: 12 + 9 * i, seed: i }));
  const alone = await oneByOne(policy, requests);
  expect(await together(policy, requests)).toEqual(alone);
  const pages = Math.ceil(prompt.inputIds.length / 4) + 9;
  const small = await load({ pageTokens: 4, cacheMb: megabytes(pages, 4, policy.config), rollouts: 5 }, path);
  expect(await together(small, requests)).toEqual(alone);
  for (const each of [policy, small]) each.dispose();
});

it('f64 draws the same bits in parts', async () => {
  const options = { trained: false, dtype: 'f64' } as const;
  const [policy, small] = await Promise.all([
    Policy.load(shipped, options),
    Policy.load(shipped, { ...options, engine: { pageTokens: 5, promptRows: 128, rollouts: 2 } }),
  ]);
  const { long } = await shippedPrompts(policy);
  const requests = [{ prompt: long, n: 3, maxTokens: 6 }];
  expect(await together(small, requests)).toEqual(await together(policy, requests));
  for (const each of [policy, small]) each.dispose();
});

describe('what ends a response', () => {
  let policy: Policy;
  let request: SamplingRequest;
  beforeAll(async () => {
    policy = await load();
    request = { prompt: (await shippedPrompts(policy)).short, n: 4, maxTokens: 30, stopIds: [], temperature: 1.5 };
  });
  afterAll(() => policy.dispose());

  it('nothing but its length, where no id does', async () => {
    const responses = await policy.submit(request);
    expect(responses.map(({ tokens, finish }) => [tokens.length, finish])).toEqual(Array(4).fill([30, 'length']));
  });

  it('an id of its own', async () => {
    const [whole] = await policy.submit(request);
    const id = whole!.tokens[9]!;
    const [ended] = await policy.submit({ ...request, stopIds: [id] });
    const length = whole!.tokens.indexOf(id) + 1;
    expect(ended).toMatchObject({ finish: 'stop', tokens: whole!.tokens.slice(0, length) });
  });

  it('tokens one behind the other, and not one of them alone', async () => {
    const [whole] = await policy.submit(request);
    const [a, b] = [whole!.tokens[12]!, whole!.tokens[13]!];
    const [ended] = await policy.submit({
      ...request,
      stopSequences: [
        [b, b, b, b],
        [a, b],
      ],
    });
    const length = whole!.tokens.findIndex((id, i) => id === a && whole!.tokens[i + 1] === b) + 2;
    expect(ended).toMatchObject({ finish: 'stop', tokens: whole!.tokens.slice(0, length) });
  });

  it('is told of as it happens', async () => {
    const told: number[] = [];
    const ids = [1, 2, 3, 4, 5].map((i) => i * 17);
    const responses = await policy.submit(
      { ...request, stopIds: ids },
      { onResponse: (response, index) => void (told.push(index), expect(response.tokens.length).toBeGreaterThan(0)) },
    );
    const byLength = [...told].map((index) => responses[index]!.tokens.length);
    expect(byLength).toEqual(byLength.toSorted((a, b) => a - b));
    expect(told.toSorted()).toEqual([0, 1, 2, 3]);
  });
});
