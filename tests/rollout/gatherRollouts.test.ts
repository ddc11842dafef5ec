import { describe, expect, it } from 'vitest';
import { createPromptStream } from '../../lib/data/promptStream.ts';
import { createRewardRunner } from '../../lib/rewards/index.ts';
import { gatherRollouts, type GatherOptions } from '../../lib/rollout/gatherRollouts.ts';
import type { RolloutPolicy } from '../../lib/rollout/group.ts';
import { G2rpoError } from '../../lib/runtime/errors.ts';
import type { Prompt, RewardInput, SamplingProgress } from '../../lib/types.ts';
import { encodeLetters, fakePolicy, fakePrompt } from '../support/fakePolicy.ts';
import { goldenCases } from '../support/golden.ts';
import { rejectionOf } from '../support/thrown.ts';

const defaults: GatherOptions = {
  ...{ prompts: 2, n: 4, maxTokens: 6, temperature: 1, topP: 1, topK: 0, repetitionPenalty: 1, batchPrompts: 8 },
  filter: { low: 0.01, high: 0.99 },
  maxTries: 20,
  maxPromptTokens: 100,
  text: { template: 'plain' },
  onBadRow: 'error',
  ...{ seed: 1, batch: 0, firstGroupId: 100 },
};

/** A policy whose j-th response to a prompt is the text "j". */
const counting: RolloutPolicy = {
  tokenizer: { decode: (ids: ArrayLike<number>) => String(ids[0]) },
  encode: async () => encodeLetters('abc'),
  submit: async ({ n = 1 }) =>
    Array.from({ length: n }, (_, j) => {
      const one = Float32Array.of(-1);
      return { tokens: Int32Array.of(j), logProbs: one, entropy: one, finish: 'stop' as const };
    }),
};

/** Accuracies[prompt][rollout]; undefined for a reward function that throws. */
function gather(accuracies: (number | undefined)[][], options: Partial<GatherOptions> = {}, prompts?: Prompt[]) {
  const all = prompts ?? accuracies.map((_, p) => fakePrompt(`abc${'a'.repeat(p)}`, { source: { file: 'f', row: p } }));
  const fn = ({ response, prompt }: RewardInput) => {
    const accuracy = accuracies[prompt.source.row]![Number(response)];
    if (accuracy === undefined) throw new Error('out of order');
    return { overall: accuracy, accuracy, format: 1 };
  };
  const stream = createPromptStream(all, { seed: 1, shuffle: false });
  return createRewardRunner({ fn }).then((rewards) =>
    gatherRollouts(counting, stream, rewards, { ...defaults, n: accuracies[0]!.length, ...options }),
  );
}

it('strings that end a response are asked for, of the greedy answers too', async () => {
  const asked: unknown[] = [];
  const policy: RolloutPolicy = {
    ...counting,
    submit: (request) => {
      asked.push(request.stopStrings);
      return counting.submit(request);
    },
  };
  const rewards = await createRewardRunner({ fn: ({ response }) => Number(response) % 2 });
  const stream = () => createPromptStream([fakePrompt('abc')], { seed: 1 });
  const options = { ...defaults, prompts: 1, filter: { low: -1, high: 2 }, greedy: true };
  await gatherRollouts(policy, stream(), rewards, { ...options, stopStrings: ['</answer>'] });
  await gatherRollouts(policy, stream(), rewards, options);
  expect(asked).toEqual([['</answer>'], ['</answer>'], undefined, undefined]);
});

describe('the filter', () => {
  it.each(goldenCases('algorithms/filtering.json'))('$name', async ({ inputs, expected }) => {
    const { accuracy, low, high } = inputs as { accuracy: number[][]; low: number; high: number };
    const kept = expected['kept'] as number[];
    const filter = { low, high };
    if (kept.length === 0) {
      const error = await rejectionOf(gather(accuracy, { prompts: accuracy.length, filter, maxTries: 2 }));
      expect(error.code).toBe('NO_PROMPTS');
      return;
    }
    const { groups } = await gather(accuracy, { prompts: kept.length, filter });
    expect(groups.map(({ prompt }) => prompt.source.row)).toEqual(kept);
  });

  const [right, wrong, mixed] = [
    [1, 1, 1, 1],
    [0, 0, 0, 0],
    [1, 0, 0, 1],
  ];

  it('draws again until enough groups are left, and discards what is too much', async () => {
    const { groups, scored, counts } = await gather([right, mixed, wrong, mixed, mixed, mixed], { prompts: 2 });
    expect(groups.map(({ prompt }) => prompt.source.row)).toEqual([1, 3]);
    expect(counts).toMatchObject({ drawn: 4, kept: 2, allRight: 1, allWrong: 1, surplus: 0, tries: 2 });
    expect(scored).toHaveLength(16);
    // one of two was kept, so two are drawn for the one that is missing
    const surplus = await gather([right, mixed, mixed, mixed], { prompts: 2 });
    expect(surplus.groups.map(({ prompt }) => prompt.source.row)).toEqual([1, 2]);
    expect(surplus.counts).toMatchObject({ drawn: 4, kept: 2, surplus: 1, tries: 2 });
    expect(surplus.counts.tasks).toEqual({ ocr: { allWrong: 0, allRight: 1, surplus: 1, kept: 2 } });
  });

  it('tells how far it is, prompt by prompt', async () => {
    const told: SamplingProgress[] = [];
    const options = { prompts: 3, batchPrompts: 2, onProgress: (each: SamplingProgress) => void told.push(each) };
    await gather([right, mixed, mixed, mixed], options);
    expect(told.map(({ done, drawn, kept, wanted }) => [done, drawn, kept, wanted])).toEqual([
      [0, 3, 0, 3],
      [1, 3, 0, 3],
      [2, 3, 1, 3],
      [3, 3, 2, 3],
      [3, 5, 2, 3],
      [4, 5, 3, 3],
      [5, 5, 3, 3],
    ]);
  });

  it('gives every drawing of a prompt a group of its own', async () => {
    const { groups } = await gather([mixed], { prompts: 3 });
    expect(groups.map(({ groupId }) => groupId)).toEqual([100, 101, 102]);
    expect(groups.flatMap(({ rollouts }) => rollouts.map(({ groupId }) => groupId))).toEqual(
      [100, 101, 102].flatMap((id) => [id, id, id, id]),
    );
  });

  it('says per task why too few are left', async () => {
    const prompts = ['ocr', 'math_reasoning'].map((taskType, row) =>
      fakePrompt('abc', { taskType, source: { file: 'f', row } }),
    );
    const error = await rejectionOf(gather([right, wrong], { maxTries: 3 }, prompts));
    expect(error.code).toBe('NO_PROMPTS');
    expect(error.message).toMatch(/2 prompts .* were wanted; 0 of 6 were left after 3 tries/);
    expect(error.message).toMatch(
      /ocr 0 all wrong, 3 all right, 0 kept; math_reasoning 3 all wrong, 0 all right, 0 kept/,
    );
    expect(error.details).toMatchObject({ drawn: 6, allRight: 3, allWrong: 3, wanted: 2 });
  });
});

describe('an engine that answers in any order', () => {
  /** Answers when it is told to; the j-th response to a prompt is the text "j". */
  function heldBack() {
    const waiting = new Map<number, () => void>();
    const policy: RolloutPolicy = {
      ...counting,
      async submit(request, { signal, onResponse } = {}) {
        await new Promise<void>((resolve, reject) => {
          waiting.set(request.rolloutOffset! / request.n!, resolve);
          signal?.addEventListener('abort', () => reject(new G2rpoError('ABORTED', 'stopped')));
        });
        const responses = await counting.submit(request);
        responses.forEach((response, j) => onResponse?.(response, j));
        return responses;
      },
    };
    const settled = () => new Promise((resolve) => setTimeout(resolve, 20));
    return {
      policy,
      waiting: () => [...waiting.keys()],
      async answer(...prompts: number[]) {
        for (const p of prompts) {
          waiting.get(p)!();
          waiting.delete(p);
          await settled();
        }
      },
      settled,
    };
  }
  const prompts = Array.from('abcdef', (letter, row) => fakePrompt(letter, { source: { file: 'f', row } }));
  const start = async (engine: RolloutPolicy, options: Partial<GatherOptions> = {}, scoredRows: number[] = []) => {
    const fn = ({ response, prompt }: RewardInput) => {
      scoredRows.push(prompt.source.row);
      return Number(response) % 2;
    };
    const stream = createPromptStream(prompts, { seed: 1, shuffle: false });
    const all = { ...defaults, n: 2, prompts: 4, batchPrompts: 2, ...options };
    return gatherRollouts(engine, stream, await createRewardRunner({ fn }), all);
  };

  it('has a prompt begin when one has ended, is scored meanwhile, and is kept in the order of drawing', async () => {
    const { policy, answer, waiting, settled } = heldBack();
    const rows: number[] = [];
    const told: number[] = [];
    const gathering = start(policy, { onProgress: ({ done }) => void told.push(done) }, rows);
    await settled();
    expect(waiting()).toEqual([0, 1]);
    await answer(1);
    expect(waiting()).toEqual([0, 2]);
    expect(new Set(rows)).toEqual(new Set([1])); // while the first one is still being sampled
    await answer(2, 3, 0);
    const { groups, scored } = await gathering;
    expect(groups.map(({ groupId }) => groupId)).toEqual([100, 101, 102, 103]);
    expect(scored.map(({ prompt }) => prompt.source.row)).toEqual([0, 0, 1, 1, 2, 2, 3, 3]);
    expect(told).toEqual([0, 1, 2, 3, 4]);
  });

  it('is stopped by the signal, whatever it is doing', async () => {
    const { policy, settled } = heldBack();
    const stop = new AbortController();
    const gathering = rejectionOf(start(policy, { signal: stop.signal }));
    await settled();
    stop.abort();
    expect((await gathering).code).toBe('ABORTED');
    expect((await rejectionOf(start(policy, { signal: AbortSignal.abort() }))).code).toBe('ABORTED');
  });

  it('is stopped by a failure, which is what comes out', async () => {
    const { policy, settled } = heldBack();
    let asked = 0;
    const failing: RolloutPolicy = {
      ...policy,
      submit: (request, options) =>
        ++asked === 2 ? Promise.reject(new G2rpoError('NON_FINITE', 'broken')) : policy.submit(request, options),
    };
    const gathering = rejectionOf(start(failing));
    await settled();
    expect(await gathering).toMatchObject({ code: 'NON_FINITE', message: 'broken' });
    expect(asked).toBe(2);
  });
});

describe('a reward function that throws', () => {
  it('takes the rollout out of its group, and a group of fewer than two out of the batch', async () => {
    const { groups, scored, counts } = await gather(
      [
        [1, undefined, 0, 1],
        [undefined, undefined, 1, undefined],
        [0, 1, 1, 0],
      ],
      { prompts: 2 },
    );
    expect(groups.map(({ rollouts }) => rollouts.map(({ text }) => text))).toEqual([
      ['0', '2', '3'],
      ['0', '1', '2', '3'],
    ]);
    // the first prompt came round once more
    expect(counts).toMatchObject({ drawn: 4, failedRewards: 5, unscored: 1, kept: 2, surplus: 1 });
    expect(counts.reasons[0]).toMatch(/f row 0: .*out of order/);
    expect(scored).toHaveLength(3 + 1 + 4 + 3);
  });
});

describe('a prompt that cannot be encoded', () => {
  const broken: RolloutPolicy = {
    ...counting,
    async encode(parts) {
      if (JSON.stringify(parts).includes('bad')) throw new G2rpoError('INVALID_PROMPT', 'prompt: too long');
      return encodeLetters('abc');
    },
  };
  const prompts = [fakePrompt('bad', { source: { file: 'f.jsonl', row: 7 } }), fakePrompt('abc')];
  const rewards = createRewardRunner({ fn: ({ response }) => Number(response) % 2 });
  const start = async (onBadRow: 'error' | 'skip', of = prompts) =>
    gatherRollouts(broken, createPromptStream(of, { seed: 1, shuffle: false }), await rewards, {
      ...defaults,
      onBadRow,
    });

  it('stops the run and names its row', async () => {
    const error = await rejectionOf(start('error'));
    expect(error).toMatchObject({ code: 'INVALID_PROMPT', message: 'f.jsonl row 7: prompt: too long' });
  });

  it('is left out and counted where that was asked for', async () => {
    const { groups, counts } = await start('skip');
    expect(groups).toHaveLength(2);
    expect(counts).toMatchObject({ skipped: 2, drawn: 2, tries: 3 });
    const error = await rejectionOf(start('skip', [prompts[0]!]));
    expect(error.message).toMatch(/that could not be read.*f\.jsonl row 7/);
  });
});

it('samples the same whatever the number of prompts at a time, and something else in another batch or for another seed', async () => {
  const prompts = Array.from('abcdef', (letter) => fakePrompt(letter));
  const texts = async (options: Partial<GatherOptions>) => {
    const stream = createPromptStream(prompts, { seed: 1, shuffle: false });
    const rewards = await createRewardRunner({ fn: () => 0.5 });
    const { scored } = await gatherRollouts(fakePolicy().policy, stream, rewards, {
      ...defaults,
      prompts: 6,
      ...options,
    });
    return scored.map(({ text }) => text);
  };
  const all = await texts({});
  expect(all).toHaveLength(24);
  expect(await texts({ batchPrompts: 1 })).toEqual(all);
  expect(await texts({ batchPrompts: 4 })).toEqual(all);
  expect(await texts({ batch: 1 })).not.toEqual(all);
  expect(await texts({ seed: 2 })).not.toEqual(all);
});
