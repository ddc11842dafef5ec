import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ProcessedImage } from '../../lib/model/qwen3vl/imageProcessor.ts';
import type { Group } from '../../lib/rollout/group.ts';
import { microBatches, packBatch, packSlices } from '../../lib/rollout/packBatch.ts';
import type { Prompt } from '../../lib/types.ts';
import { encodeLetters, fakePrompt } from '../support/fakePolicy.ts';

/** A group with responses of these lengths; every token differs from every other of the group. */
function groupOf(groupId: number, prompt: string, lengths: number[], more: Partial<Prompt> = {}): Group {
  let next = 100;
  return {
    groupId,
    prompt: fakePrompt(prompt, more),
    encoded: encodeLetters(prompt),
    rollouts: lengths.map((length, i) => {
      const tokens = Int32Array.from({ length }, () => next++);
      return {
        ...{ groupId, prompt: fakePrompt(prompt, more), tokens, text: '', finish: 'stop' as const },
        rolloutLogProbs: Float32Array.from(tokens, (token) => -token),
        reward: { overall: i / 4, accuracy: i / 4, format: 0 },
      };
    }),
  };
}

const groups = fc
  .array(
    fc.record({
      prompt: fc.string({ unit: fc.constantFrom(...'abcdefg'), minLength: 1, maxLength: 9 }),
      lengths: fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 1, maxLength: 6 }),
    }),
    { minLength: 1, maxLength: 6 },
  )
  .map((list) => list.map(({ prompt, lengths }, g) => groupOf(g, prompt, lengths)));

const rowsOf = (encoded: Group['encoded'], rollouts: Group['rollouts']) =>
  rollouts.reduce((n, { tokens }) => n + tokens.length - 1, encoded.inputIds.length);

describe('packBatch', () => {
  it('lists rollouts by group and tokens by rollout', () => {
    const batch = packBatch([
      groupOf(7, 'ab', [2, 1], { problemType: 'math', taskType: 'math_reasoning' }),
      groupOf(9, 'c', [3], { problemType: 'OCR', taskType: 'ocr' }),
      groupOf(4, 'd', [1], { problemType: 'Math', taskType: 'chart_figure_qa' }),
    ]);
    expect([...batch.tokenStarts]).toEqual([0, 2, 3, 6, 7]);
    expect([...batch.groupIds]).toEqual([7, 7, 9, 4]);
    expect([...batch.taskIds]).toEqual([0, 0, 1, 0]); // problem types, in any case
    expect([...batch.shapingTaskIds]).toEqual([0, 0, 1, 2]);
    expect([...batch.rewards]).toEqual([0, 0.25, 0, 0]);
    expect([...batch.rolloutLogProbs]).toEqual([-100, -101, -102, -100, -101, -102, -100]);
  });
});

describe('microBatches', () => {
  it('hold every rollout once, in order, and not more rows than allowed unless there is one alone', () => {
    fc.assert(
      fc.property(groups, fc.integer({ min: 1, max: 60 }), (list, budget) => {
        const starts = list.map((_, g) => list.slice(0, g).reduce((n, { rollouts }) => n + rollouts.length, 0));
        const micros = microBatches(list, budget);
        const seen = micros.flatMap((slices) =>
          slices.flatMap(({ group, first, from, to }) => {
            expect(first).toBe(starts[list.indexOf(group)]! + from);
            return group.rollouts.slice(from, to);
          }),
        );
        expect(seen).toEqual(list.flatMap(({ rollouts }) => rollouts));
        for (const slices of micros) {
          const rows = slices.reduce(
            (n, { group, from, to }) => n + rowsOf(group.encoded, group.rollouts.slice(from, to)),
            0,
          );
          const count = slices.reduce((n, { from, to }) => n + to - from, 0);
          if (count > 1) expect(rows).toBeLessThanOrEqual(budget);
          expect(packSlices(slices, 2).inputIds).toHaveLength(rows);
        }
        // a group that fits by itself is never torn
        for (const group of list)
          if (rowsOf(group.encoded, group.rollouts) <= budget)
            expect(micros.flat().filter((slice) => slice.group === group)).toHaveLength(1);
      }),
    );
  });
});

describe('packSlices', () => {
  it('lets every target be predicted from its prompt and the response before it', () => {
    fc.assert(
      fc.property(groups, fc.integer({ min: 1, max: 60 }), (list, budget) => {
        for (const slices of microBatches(list, budget)) {
          const batch = packSlices(slices, 2);
          const rows = batch.inputIds.length;
          const segmentOf = (row: number) =>
            batch.segmentStarts.findIndex((start, z) => start <= row && row < batch.segmentStarts[z + 1]!);
          let target = 0;
          for (const { group, from, to } of slices)
            for (const { tokens } of group.rollouts.slice(from, to))
              tokens.forEach((token, t) => {
                const row = batch.targetRows[target]!;
                expect(batch.targetIds[target++]).toBe(token);
                const segment = segmentOf(row);
                const own = [...batch.inputIds.subarray(batch.segmentStarts[segment], row + 1)];
                const prefix = batch.segmentPrefix[segment]!;
                const before =
                  prefix < 0
                    ? []
                    : [...batch.inputIds.subarray(batch.segmentStarts[prefix], batch.segmentStarts[prefix + 1])];
                expect([...before, ...own]).toEqual([...group.encoded.inputIds, ...tokens.subarray(0, t)]);
                for (let axis = 0; axis < 3; axis++)
                  expect(batch.positionIds[axis * rows + row]).toBe(
                    group.encoded.inputIds.length - 1 + t + group.encoded.ropeDelta,
                  );
              });
          expect(batch.targetRows).toHaveLength(target);
          expect(batch.segmentStarts.at(-1)).toBe(rows);
        }
      }),
      { numRuns: 50 },
    );
  });

  it('holds a picture once, however many prompts show it', () => {
    const image: ProcessedImage = {
      pixels: new Uint8Array(),
      height: 32,
      width: 64,
      gridThw: [1, 2, 4],
      visualTokens: 2,
    };
    const other: ProcessedImage = { ...image, gridThw: [1, 2, 2], visualTokens: 1 };
    const [first, second] = [groupOf(0, 'abcde', [2]), groupOf(1, 'abcd', [1, 3])];
    first.encoded = { ...first.encoded, images: [other, image], visualRows: Int32Array.of(0, 2, 3) };
    second.encoded = { ...second.encoded, images: [image], visualRows: Int32Array.of(1, 2) };
    const [slices] = microBatches([first, second], 1000);
    const batch = packSlices(slices!, 2);
    expect(batch.images).toEqual([other, image]);
    expect([...batch.visualRows]).toEqual([0, 2, 3, 6, 7]);
    expect([...batch.visualSource]).toEqual([0, 1, 2, 1, 2]);
  });
});
