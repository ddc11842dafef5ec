import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { EncodedPrompt } from '../../../lib/model/qwen3vl/encodePrompt.ts';
import { Policy, type EngineOptions, type SamplingRequest } from '../../../lib/model/qwen3vl/policy.ts';
import { packPrompts } from '../../../lib/model/qwen3vl/policyBatch.ts';
import { native, packageRoot } from '../../../lib/runtime/native.ts';
import { bitsOf, shippedPrompts } from '../../support/askedPrompts.ts';
import { rejectionOf } from '../../support/thrown.ts';
import { onCpu } from '../../support/onCpu.ts';

const shipped = join(packageRoot, 'assets', 'quickstart', 'policy');
const load = (engine: EngineOptions = {}) => Policy.load(shipped, { trained: false, engine });

let policy: Policy;
let prompts: Awaited<ReturnType<typeof shippedPrompts>>;
beforeAll(async () => {
  policy = await load();
  prompts = await shippedPrompts(policy);
});
afterAll(() => policy.dispose());
/** Goes on for long: nothing ends it. */
const endless = (n = 1) => ({ n, maxTokens: 100_000, stopIds: [] });
const long = (n = 1): SamplingRequest => ({ prompt: prompts.shown, ...endless(n) });
const fine = (): SamplingRequest => ({ prompt: prompts.short, n: 2, maxTokens: 8, seed: 5 });

/** A policy that has been asked for something bad does what it did before. */
async function stillWorks(before: unknown, asked = policy) {
  expect(bitsOf(await asked.submit(fine()))).toEqual(before);
}

describe('what is refused', () => {
  const ofIds = (...ids: number[]): EncodedPrompt => ({
    ...prompts.short,
    inputIds: Int32Array.from(ids),
    positionIds: Int32Array.from({ length: 3 * ids.length }, (_, i) => i % ids.length),
  });
  it.each<[string, () => Partial<SamplingRequest>, RegExp]>([
    ['no tokens', () => ({ prompt: ofIds() }), /a prompt without tokens/],
    ['an id behind the vocabulary', () => ({ prompt: ofIds(1, 99_999) }), /inputIds\[1\] must be in \[0, \d+\)/],
    ['a negative id', () => ({ prompt: ofIds(-7) }), /inputIds\[0\] must be in/],
    ['no responses', () => ({ n: 0 }), /n must be a whole number from 1 to 65536; got 0/],
    [
      'more responses than promises can be made for',
      () => ({ n: 1e9 }),
      /n must be a whole number from 1 to 65536; got 1000000000/,
    ],
    ['no token', () => ({ maxTokens: 0 }), /maxTokens must be a whole number from 1; got 0/],
    ['more tokens than can be counted', () => ({ maxTokens: 2 ** 40 }), /maxTokens must be an integer of 32 bits/],
    ['half a response', () => ({ n: 0.5 }), /n must be a whole number from 1/],
    ['a negative temperature', () => ({ temperature: -1 }), /temperature, if not 0, must be from 1e-30 to/],
    ['a temperature that f32 cannot divide by', () => ({ temperature: 1e-45 }), /temperature, if not 0, .*got 1e-45/],
    ['a temperature that is none', () => ({ temperature: Number.NaN }), /temperature, if not 0, must be .*got NaN/],
    ['a topP of 0', () => ({ topP: 0 }), /topP must be in \(0, 1\]/],
    ['a negative topK', () => ({ topK: -1 }), /topK must be at least 0/],
    [
      'a penalty of 0',
      () => ({ repetitionPenalty: 0 }),
      /repetitionPenalty must be from 1e-30 to 1e\+30, so that f32 can divide by it; got 0/,
    ],
    ['a seed that is none', () => ({ seed: Number.NaN }), /seed must be a whole number; got NaN/],
    [
      'a stop id behind the vocabulary',
      () => ({ stopIds: [2 ** 32 + 5] }),
      /stopIds must hold ids below \d+; got 4294967301/,
    ],
    ['stop ids that are none', () => ({ stopIds: 'abc' as unknown as number[] }), /stopIds must be a list; got "abc"/],
    [
      'positions of another prompt',
      () => ({ prompt: { ...prompts.short, positionIds: new Int32Array(3) } }),
      /positionIds must have \d+ entries; got 3/,
    ],
    [
      'a position far away',
      () => ({ prompt: { ...prompts.short, ropeDelta: 2 ** 31 - 1 } }),
      /ropeDelta must be a whole number below/,
    ],
    ['a stop sequence of nothing', () => ({ stopSequences: [[]] }), /a stop sequence must have a token/],
  ])('%s, and nothing else is disturbed', async (_, change, message) => {
    const before = bitsOf(await policy.submit(fine()));
    const good = policy.submit(fine());
    const bad = rejectionOf(policy.submit({ ...fine(), ...change() }));
    expect(await bad).toMatchObject({ code: 'INVALID_ARGUMENT', message: expect.stringMatching(message) as string });
    expect(bitsOf(await good)).toEqual(before);
  });

  it('a temperature of scores that f32 cannot divide by', async () => {
    const batch = packPrompts([prompts.short], policy.config.vision.merge);
    for (const temperature of [0, 1e-38, 1e46, Number.NaN])
      expect(await rejectionOf(policy.forward(batch, { temperature }))).toMatchObject({
        code: 'INVALID_ARGUMENT',
        message: `policy: temperature must be from 1e-30 to 1e+30, so that f32 can divide by it; got ${temperature}`,
      });
  });

  it('one of several prompts, and then the others are stopped', async () => {
    const { code } = await rejectionOf(policy.generate([prompts.shown, ofIds(), prompts.shown], endless(3)));
    expect(code).toBe('INVALID_ARGUMENT');
  });

  it('more than the cache can hold, before anything is computed', async () => {
    const small = await load({ cacheMb: 0.263, pageTokens: 16 });
    const { text } = small.config;
    const pages = Math.floor(0.263e6 / (16 * 8 * text.layers * text.kvHeads * text.headDim));
    const own = pages - Math.ceil(prompts.short.inputIds.length / 16);
    const most = { ...fine(), maxTokens: own * 16 + 1 };
    const before = bitsOf(await policy.submit(most));
    expect(bitsOf(await small.submit(most))).toEqual(before); // to the last page, one after the other
    const error = await rejectionOf(small.submit({ ...most, maxTokens: own * 16 + 2 }));
    expect(error.code).toBe('INVALID_ARGUMENT');
    expect(error.message).toMatch(
      new RegExp(`a prompt of \\d+ tokens and a response of \\d+ take ${pages + 1} pages .* at most ${pages}`),
    );
    small.dispose();
  });

  it.each<[EngineOptions, RegExp]>([
    [{ cacheMb: 0.0001 }, /the cache must hold two pages/],
    [{ cacheMb: 0 }, /cacheMb must be above 0/],
    [{ cacheMb: Number.NaN }, /cacheMb must be above 0/],
    [{ pageTokens: 0 }, /pageTokens and rollouts must be at least 1/],
    [{ rollouts: 0 }, /pageTokens and rollouts must be at least 1/],
    [{ promptRows: 100 }, /promptRows must be a multiple of 128/],
  ])('limits of %j', async (engine, message) => {
    expect(await rejectionOf(load(engine))).toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringMatching(message) as string,
    });
  });
});

it('one token, of a prompt of one token', async () => {
  const prompt = { ...prompts.short, inputIds: Int32Array.of(5), positionIds: Int32Array.of(0, 0, 0), ropeDelta: 0 };
  const [response] = await policy.submit({ prompt, maxTokens: 1 });
  expect(response!.tokens).toHaveLength(1);
  expect(response!.logProbs).toHaveLength(1);
});

it('a rollout that is put off draws what it would have drawn, and its tokens once', async () => {
  const request = { prompt: prompts.short, n: 2, maxTokens: 40, stopIds: [], seed: 8 };
  const [page, prompt] = [4, Math.ceil(prompts.short.inputIds.length / 4)];
  const { text } = policy.config;
  // both begin; neither leaves the other room to end
  const bytes = (prompt + 12) * page * 8 * text.layers * text.kvHeads * text.headDim;
  const small = await load({ pageTokens: page, cacheMb: bytes / 1e6 });
  const launches = async (asked: Policy) => {
    native().profile(true);
    const drawn = bitsOf(await asked.submit(request));
    const times = new Map(
      native()
        .kernelTimes()
        .map((each) => [each.name, each.launches]),
    );
    native().profile(false);
    return {
      drawn,
      steps: times.get('decode_attention')! / text.layers,
      draws: times.get(onCpu ? 'sample_head' : 'sample')!,
    };
  };
  const free = await launches(policy);
  expect(free).toMatchObject({ steps: 39, draws: 40 });
  const tight = await launches(small);
  expect(tight.drawn).toEqual(free.drawn);
  expect(tight.steps).toBeGreaterThan(60); // the one was computed from its first token on again
  expect(tight.draws).toBeLessThan(60); // but drew only what it had not drawn
  small.dispose();
});

describe('what is aborted', () => {
  it('fails by itself, before it has begun, while it waits and while it is sampled', async () => {
    const one = await load({ rollouts: 2 });
    const before = bitsOf(await one.submit(fine()));
    const stops = Array.from({ length: 4 }, () => new AbortController());
    stops[0]!.abort();
    const all = stops.map(({ signal }) => rejectionOf(one.submit(long(2), { signal })));
    const good = one.submit(fine());
    expect(await all[0]).toMatchObject({ code: 'ABORTED' });
    stops[1]!.abort(); // before it was handed over
    expect(await all[1]).toMatchObject({ code: 'ABORTED' });
    await sleep(50);
    stops[3]!.abort(); // in the queue
    expect(await all[3]).toMatchObject({ code: 'ABORTED' });
    stops[2]!.abort(); // of long
    expect(await all[2]).toMatchObject({ code: 'ABORTED' });
    expect(bitsOf(await good)).toEqual(before);
    one.dispose();
  });

  it('at any moment leaves nothing behind that disturbs others', async () => {
    const before = bitsOf(await policy.submit(fine()));
    const small = await load({ cacheMb: 2, rollouts: 5, promptRows: 128 });
    for (let delay = 0; delay < 25; delay++) {
      const stop = new AbortController();
      const all = [
        { ...long(3), prompt: prompts.long, maxTokens: 400 },
        { ...long(4), maxTokens: 300 },
      ].map((request) => rejectionOf(small.submit(request, { signal: stop.signal })));
      await sleep(delay);
      stop.abort();
      for (const each of await Promise.all(all)) expect(each.code).toBe('ABORTED');
    }
    await stillWorks(before, small);
    small.dispose();
  });

  it('when it has ended is not told of it', async () => {
    const stop = new AbortController();
    const responses = await policy.submit(fine(), { signal: stop.signal });
    stop.abort();
    await stillWorks(bitsOf(responses));
  });

  it('all of many at one signal', async () => {
    const stop = new AbortController();
    const warnings: Error[] = [];
    const listen = (warning: Error) => void warnings.push(warning);
    process.on('warning', listen);
    const all = Array.from({ length: 40 }, () => rejectionOf(policy.submit(long(), { signal: stop.signal })));
    await sleep(30);
    stop.abort();
    for (const each of await Promise.all(all)) expect(each.code).toBe('ABORTED');
    await sleep(1);
    process.off('warning', listen);
    expect(warnings).toEqual([]);
  });

  it('by disposing of the policy', async () => {
    const other = await load();
    const running = rejectionOf(other.submit(long(3)));
    await sleep(30);
    const waiting = rejectionOf(other.submit(long()));
    other.dispose();
    expect(await running).toMatchObject({ code: 'DISPOSED' });
    expect(await waiting).toMatchObject({ code: 'DISPOSED' });
    expect(await rejectionOf(other.submit(fine()))).toMatchObject({ code: 'DISPOSED' });
  });
});

it('weights that are written while something is sampled fail it, and what comes then is of the new ones', async () => {
  const other = await load();
  const before = bitsOf(await other.submit(fine()));
  const weight = other.parameters.find(({ name }) => name.includes('embed_tokens'))!.weight;
  const values = Float32Array.from(await weight.read());
  const running = rejectionOf(other.submit(long(20)));
  await sleep(30);
  weight.write(values.map((v) => 2 * v));
  expect(await running).toMatchObject({
    code: 'INVALID_ARGUMENT',
    message: expect.stringMatching(/weights were written/) as string,
  });
  const then = bitsOf(await other.submit(fine()));
  if (onCpu) expect(then).not.toEqual(before); // of a GPU's no bits are compared
  weight.write(values);
  await stillWorks(before, other);
  other.dispose();
});

it('a picture of NaN fails its own request alone', async () => {
  const before = bitsOf(await policy.submit(fine()));
  const { gridThw } = prompts.shown.images[0]!;
  const { vision } = policy.config;
  const rows = new Float32Array(gridThw.reduce((a, b) => a * b) * 3 * vision.temporalPatch * vision.patch ** 2).fill(
    Number.NaN,
  );
  const broken = { ...prompts.shown, images: [{ rows, gridThw }] } as unknown as EncodedPrompt;
  const [bad, good] = [rejectionOf(policy.submit({ ...fine(), n: 3, prompt: broken })), policy.submit(fine())];
  expect(await bad).toMatchObject({ code: 'NON_FINITE' });
  expect(bitsOf(await good)).toEqual(before);
});

it.each(['sample', 'train'])(
  'threads that are ended while they %s take nobody with them',
  { timeout: 120_000 },
  async (what) => {
    const script = join(packageRoot, 'tests', 'support', 'endedThreads.ts');
    const child = spawn(process.execPath, ['--import', 'jiti/register', script, shipped, what], {
      stdio: ['ignore', 'pipe', 'pipe'],
      cwd: packageRoot,
    });
    let text = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (data: Buffer) => (text += data.toString()));
    const ended = await once(child, 'close');
    expect(text).toBe('all ended\n');
    expect(ended).toEqual([0, null]);
  },
);

it('a policy that is disposed of while it samples, and aborts behind that, end nothing but what was asked', async () => {
  const gone = await load();
  const stop = new AbortController();
  const all = [gone.generate([prompts.short, prompts.shown], endless(2)), gone.submit(long(), { signal: stop.signal })];
  const ends = Promise.allSettled(all);
  await sleep(50);
  gone.dispose();
  stop.abort();
  for (const end of await ends) expect(end).toMatchObject({ status: 'rejected', reason: { code: 'DISPOSED' } });
});

it('what throws in onResponse ends the request', async () => {
  const told = policy.submit(
    { ...fine(), n: 8 },
    {
      onResponse: () => {
        throw new Error('not now');
      },
    },
  );
  await expect(told).rejects.toThrow('not now');
  const before = bitsOf(await policy.submit(fine()));
  await stillWorks(before);
});
