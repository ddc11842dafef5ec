import { describe, expect, it } from 'vitest';
import { validate, type Answerer } from '../../lib/eval/validate.ts';
import { fakePrompt } from '../support/fakePolicy.ts';
import { rejectionOf } from '../support/thrown.ts';

const prompts = [
  ...['1', '0', '1', 'fail'].map((answer) => fakePrompt(`ocr ${answer}`, { taskType: 'ocr', answer })),
  ...['0.5', '0.5'].map((answer) => fakePrompt(`math ${answer}`, { taskType: 'math_reasoning', answer })),
  fakePrompt('lost', { taskType: 'other', answer: 'fail' }),
];
/** The accuracy is the answer; the n-th response has n tokens. */
const answerer: Answerer = {
  async answer(all, _, onAnswer) {
    // the last one first
    for (const [index, prompt] of [...all.entries()].reverse()) {
      const tokens = prompts.indexOf(prompt) + 1;
      await onAnswer(index, { text: `said ${prompt.problem}`, tokens, finish: tokens > 5 ? 'length' : 'stop' });
    }
  },
  async score({ answer }) {
    const accuracy = Number(answer);
    return answer === 'fail' ? { failed: 'no' } : { overall: 0.9 * accuracy, accuracy, format: 0 };
  },
};

it('is told per task, as a mean over tasks and over prompts, without what could not be scored', async () => {
  const report = await validate(prompts, answerer, { step: 6, batchPrompts: 3, samples: 4 });
  expect(report.step).toBe(6);
  expect(Object.keys(report.tasks)).toEqual(['math_reasoning', 'ocr', 'other']);
  expect(report.tasks['ocr']).toMatchObject({
    prompts: 4,
    failed: 1,
    accuracy: 2 / 3,
    responseLength: { mean: 2.5, max: 4 },
    clipRatio: 0,
  });
  expect(report.tasks['math_reasoning']).toMatchObject({
    accuracy: 0.5,
    responseLength: { mean: 5.5, max: 6 },
    clipRatio: 0.5,
  });
  const close = (name: string, wanted: number) => expect(report.metrics[name], name).toBeCloseTo(wanted, 12);
  close('val/accuracy_macro', (2 / 3 + 0.5) / 2);
  close('val/reward_score', (0.9 * 3) / 5);
  close('val/failed_rewards', 2);
  close('val/ocr_accuracy_reward', 2 / 3);
  close('val_math_reasoning_response_length/clip_ratio', 0.5);
});

it('shows the first prompts of every task in turn, the same every time', async () => {
  const shown = async (samples: number) =>
    (await validate(prompts, answerer, { step: 0, batchPrompts: 10, samples })).samples.map(({ problem }) => problem);
  expect(await shown(3)).toEqual(['math 0.5', 'ocr 1', 'math 0.5']);
  expect(await shown(0)).toEqual([]);
  expect(await shown(99)).toHaveLength(5);
});

describe('a prompt that cannot be read', () => {
  const picky: Answerer = {
    answer: (all, options, onAnswer) =>
      answerer.answer(all, options, (index, answer) => {
        const broken = all[index]!.problem.startsWith('ocr 1');
        return onAnswer(index, broken ? { skipped: `row ${prompts.indexOf(all[index]!)}: torn` } : answer);
      }),
    score: answerer.score,
  };
  const options = { step: 0, batchPrompts: 2, samples: 9 };

  it('is counted, told with its row, and in no mean', async () => {
    const report = await validate(prompts, picky, options);
    expect(report.skipped).toEqual(['row 0: torn', 'row 2: torn']);
    expect(report.metrics['val/prompts_skipped']).toBe(2);
    expect(report.tasks['ocr']).toMatchObject({ prompts: 2, failed: 1, accuracy: 0, responseLength: { mean: 3 } });
    expect(report.tasks['math_reasoning']).toMatchObject({ prompts: 2, accuracy: 0.5, responseLength: { mean: 5.5 } });
    expect(report.samples.map(({ problem }) => problem)).toEqual(['math 0.5', 'ocr 0', 'math 0.5']);
  });

  it('is no reason to go on when nothing else is there', async () => {
    const error = await rejectionOf(validate([prompts[0]!, prompts[2]!], picky, options));
    expect(error.code).toBe('NO_PROMPTS');
    expect(error.message).toMatch(/none of 2 could be; the first: row 0: torn/);
  });
});
