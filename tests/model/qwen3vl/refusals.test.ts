import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import * as g2rpo from '../../../lib/index.ts';
import { packPrompts } from '../../../lib/model/qwen3vl/policyBatch.ts';
import { packageRoot } from '../../../lib/runtime/native.ts';
import { shippedPrompts } from '../../support/askedPrompts.ts';
import { rejectionOf } from '../../support/thrown.ts';

const shipped = join(packageRoot, 'assets', 'quickstart', 'policy');
let policy: g2rpo.Policy;
let prompts: Awaited<ReturnType<typeof shippedPrompts>>;
beforeAll(async () => {
  policy = await g2rpo.Policy.load(shipped, { trained: false });
  prompts = await shippedPrompts(policy);
});
afterAll(() => policy.dispose());

const NO_LISTS = [null, undefined, 3, true, { length: 2 }];
type Call = (bad: never) => unknown;
const loss = () => ({
  kind: 'ppo' as const,
  ...{ advantages: new Float32Array(1), weights: new Float32Array(1), entropySlopes: new Float32Array(1) },
  ...{ clipLow: 0.2, clipHigh: 0.2, clipDual: 0 },
});
const batch = () => ({
  ...packPrompts([prompts.short], policy.config.vision.merge),
  targetRows: Int32Array.of(0),
  targetIds: Int32Array.of(1),
});
const asked = (change: object) => policy.submit({ prompt: prompts.short, maxTokens: 2, ...change });
const starts = Int32Array.of(0, 1);

/** What a list is wanted for, and a call without one. */
const CALLS: Record<string, Call> = {
  'parts of a prompt': (bad) => policy.encode(bad),
  messages: (bad) => policy.encodeMessages(bad),
  'prompts to answer': (bad) => policy.generate(bad, { maxTokens: 2 }),
  'a prompt': (bad) => asked({ prompt: bad }),
  'ids of a prompt': (bad) => asked({ prompt: { ...prompts.short, inputIds: bad } }),
  'positions of a prompt': (bad) => asked({ prompt: { ...prompts.short, positionIds: bad } }),
  'pictures of a prompt': (bad) => asked({ prompt: { ...prompts.short, images: bad } }),
  'visual rows of a prompt': (bad) => asked({ prompt: { ...prompts.shown, visualRows: bad } }),
  'a stop sequence': (bad) => asked({ stopSequences: [bad] }),
  'a batch': (bad) => policy.forward(bad),
  'pictures of a batch': (bad) => policy.forward({ ...batch(), images: bad }),
  'one of them': (bad) => policy.features([bad]),
  'its grid': (bad) => policy.features([{ rows: new Float32Array(), gridThw: bad }]),
  'its rows': (bad) => policy.features([{ rows: bad, gridThw: [1, 2, 2] }]),
  'a loss': (bad) => policy.forwardBackward(batch(), bad),
  'advantages of a loss': (bad) => policy.forwardBackward(batch(), { ...loss(), advantages: bad }),
  'weights of a loss': (bad) => policy.forwardBackward(batch(), { ...loss(), weights: bad }),
  'a data set': (bad) => g2rpo.loadDataset(bad),
  'one of its files': (bad) => g2rpo.loadDemonstrations([bad]),
  'prompts of a stream': (bad) => g2rpo.createPromptStream(bad, { seed: 1 }),
  'a shape': (bad) => g2rpo.zeros('f32', bad),
  'another shape': (bad) => {
    using flat = g2rpo.zeros('f32', [4]);
    return flat.reshape(bad);
  },
  'rewards of advantages': (bad) => g2rpo.advantages('grpo', { rewards: bad, groups: [1] }),
  'log-probabilities of a KL term': (bad) => g2rpo.klTerms('k3', bad, [0]),
  'those of the reference': (bad) => g2rpo.klTerms('k3', [0], bad),
  'those of importance weights': (bad) =>
    g2rpo.importanceWeights([0], bad, starts, { level: 'token', cap: 2, normalise: false }),
  'starts of token weights': (bad) => g2rpo.tokenWeights(bad, { aggregation: 'token-mean' }),
  'starts of returns': (bad) => g2rpo.returnsToGo(Float64Array.of(1), bad, 1),
  'accuracies of a group': (bad) => g2rpo.fateOf(bad, { low: 0, high: 1 }),
  'ids of positions': (bad) => g2rpo.positionsOf(bad, { images: [], videos: [] }, policy.config),
  'grids of positions': (bad) => g2rpo.positionsOf([1], { images: bad, videos: [] }, policy.config),
  'indices of frames': (bad) => g2rpo.timestampsOf(bad, 2, 2),
  'a box': (bad) => g2rpo.boxIou(bad, [0, 0, 1, 1]),
  'an interval': (bad) => g2rpo.intervalIou([0, 1], bad),
  'three points': (bad) => g2rpo.pointSimilarity(bad, [[0, 0], [1, 1], [2, 2]]), // prettier-ignore
  'one of them as well': (bad) => g2rpo.pointSimilarity([[0, 0], bad, [2, 2]], [[0, 0], [1, 1], [2, 2]]), // prettier-ignore
  'a track': (bad) => g2rpo.trackIou(bad, new Map()),
};

describe('no list where one is wanted', () => {
  it.each(Object.keys(CALLS))('%s', async (name) => {
    for (const bad of NO_LISTS) {
      const error = await rejectionOf((async () => CALLS[name]!(bad as never))());
      expect(error, `${name}: ${String(bad)}`).toBeInstanceOf(g2rpo.G2rpoError);
      expect(['INVALID_ARGUMENT', 'INVALID_DATA', 'INVALID_PROMPT'], error.message).toContain(error.code);
      expect(error.message).toMatch(/must|wanted|needs/);
    }
  });
});

describe('an option that there is not', () => {
  const load = (options: object) => g2rpo.Policy.load(shipped, options);
  it.each<[string, () => Promise<unknown>, RegExp]>([
    [
      'of a policy',
      () => load({ dtpye: 'f32' }),
      /policy: options must hold none but .*; got dtpye; did you mean dtype\?/,
    ],
    [
      'of an engine',
      () => load({ engine: { cacheMB: 3 } }),
      /engine: options must .*; got cacheMB; did you mean cacheMb\?/,
    ],
    ['of an adapter', () => load({ lora: { rnak: 2 } }), /policy: lora must .*; got rnak; did you mean rank\?/],
    ['of videos', () => load({ video: { fsp: 2 } }), /policy: video must .*; got fsp; did you mean fps\?/],
    ['of what is trained', () => load({ trained: { frozen: ['*'] } }), /policy: trained must .*; got frozen/],
    [
      'of an answer',
      () => policy.generate([prompts.short], { maxTokens: 2, tempreture: 1 } as never),
      /did you mean temperature\?/,
    ],
    [
      'of a request',
      () => policy.submit({ prompt: prompts.short, maxTokens: 2 }, { sginal: 1 } as never),
      /did you mean signal\?/,
    ],
    ['of scores', () => policy.forward(batch(), { temprature: 1 } as never), /did you mean temperature\?/],
    ['of a prompt', () => policy.encode([], { maxTokens: 3 } as never), /prompt: options must .*; got maxTokens/],
  ])('%s', async (_, call, message) => {
    expect(await rejectionOf(call())).toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringMatching(message) as string,
    });
  });

  it.each<[string, object, RegExp]>([
    ['options', null as never, /policy: options must be an object; got null/],
    ['an engine', { engine: null }, /engine: options must be an object; got null/],
    ['its rollouts', { engine: { rollouts: null } }, /rollouts must be a number/],
    ['what is trained', { trained: null }, /policy: trained must be an object; got null/],
    ['patterns', { trained: { freeze: 'model.*' } }, /policy: trained\.freeze must be a list; got "model\.\*"/],
    [
      'targets',
      { lora: { rank: 2, alpha: 2, seed: 1, targets: null } },
      /policy: lora\.targets must be a list; got null/,
    ],
    ['a type', { dtype: 'f16' }, /policy: dtype must be f32, f64 or bf16; got f16/],
    ['a layout', { expertLayout: null }, /policy: expertLayout must be in_out or out_in; got null/],
  ])('%s of another kind', async (_, options, message) => {
    expect(await rejectionOf(load(options))).toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringMatching(message) as string,
    });
  });
});

describe('a grid that its prompt, or its rows, do not have', () => {
  const huge = [1, 32_768, 32_768] as const; // 10⁹ patches
  const withGrid = (gridThw: readonly number[]) => {
    const [picture] = prompts.shown.images;
    return { ...prompts.shown, images: [{ ...picture!, gridThw: gridThw as never }] };
  };
  it.each<[string, () => unknown, RegExp]>([
    [
      'a prompt with a huge picture',
      () => asked({ prompt: withGrid(huge) }),
      /prompt: visualRows must be one for each of the \d+ visual tokens of images; got \d+/,
    ],
    ['packed by itself', () => packPrompts([withGrid(huge)], 2), /visualRows must be one for each/],
    [
      'a grid of no whole tokens',
      () => asked({ prompt: withGrid([1, 3, 2]) }),
      /images\[0\]\.gridThw must be \[t, h, w\], h and w multiples of 2; got \[1, 3, 2\]/,
    ],
    ['a grid of fractions', () => asked({ prompt: withGrid([0.5, 4, 2]) }), /gridThw must be .*got \[0\.5, 4, 2\]/],
    [
      'pixels of another size',
      () => policy.features([{ ...prompts.shown.images[0]!, gridThw: huge }]),
      /policy: images\[0\]\.pixels must be the \d+ of its grid/,
    ],
    [
      'rows of another size',
      () => policy.features([{ rows: new Float32Array(3), gridThw: huge }]),
      /policy: images\[0\]\.rows must be the \d+ of its grid \[1, 32768, 32768\]; got 3/,
    ],
    [
      'a video of 10⁹ parts',
      () => g2rpo.positionsOf([1, 2], { images: [], videos: [[1e9, 2, 2]] }, policy.config),
      /1000000000 of 1000000000 video grids have no placeholders/,
    ],
  ])('%s is refused at once', async (_, call, message) => {
    const begin = performance.now();
    const error = await rejectionOf((async () => call())());
    expect(error.message).toMatch(message);
    expect(performance.now() - begin).toBeLessThan(1000);
  });
});
