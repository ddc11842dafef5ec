import { describe, expect, it } from 'vitest';
import { checkAnswer, extractAnswer, formatReward, problemTypeOf, scoreResponse } from '../../lib/rewards/index.ts';
import type { RewardInput } from '../../lib/types.ts';

function input(response: string, answer: string, problemType: string): RewardInput {
  const source = { file: 'rows.jsonl', row: 3 };
  const prompt = { source, problem: '', images: [], problemType, taskType: 'other', options: [], answer, extra: {} };
  return { response, answer, problemType, prompt };
}
const wrap = (answer: string) => `<think>so</think>\n<answer>${answer}</answer>`;

describe('formatReward', () => {
  it('lets white space stand inside the angle brackets', () =>
    expect(formatReward('< think >a</ think ><answer>b< / answer>')).toBe(1));
  it.each([
    '<think>a</think><answer>b</answer><answer>c</answer>',
    '<think>a<think>b</think><answer>c</answer>',
    '<think>use <answer></think><answer>c</answer>',
    '<think>a</think><answer>b',
  ])('%s is 0', (text) => expect(formatReward(text)).toBe(0));
  it('knows tags of other names', () =>
    expect(formatReward('<why>a</why><out>b</out>', { think: 'why', answer: 'out' })).toBe(1));
});

describe('extractAnswer', () => {
  it('takes the first block, trimmed', () =>
    expect(extractAnswer('x<answer>\n a b \n</answer><answer>c</answer>')).toBe('a b'));
  it('takes all of it without a whole block', () => expect(extractAnswer(' <answer>7 ')).toBe('<answer>7'));
});

describe('scoreResponse', () => {
  it('weighs accuracy and format', () => {
    expect(scoreResponse(input(wrap('7'), '7', 'math'))).toEqual({ overall: 1, accuracy: 1, format: 1 });
    expect(scoreResponse(input('7', '7', 'math'))).toEqual({ overall: 0.9, accuracy: 1, format: 0 });
    expect(scoreResponse(input(wrap('8'), '7', 'math'))).toEqual({ overall: 0.1, accuracy: 0, format: 1 });
    expect(scoreResponse(input('7', '7', 'math'), { formatWeight: 0.5 }).overall).toBe(0.5);
  });
  it('unwraps the ground truth and tightens it as it does the response', () => {
    expect(scoreResponse(input(wrap('a / b'), '<answer>a / b</answer>', 'OCR')).accuracy).toBe(1);
  });
  it('does not look at the case of the problem type', () =>
    expect(scoreResponse(input(wrap('hi'), 'hi', 'ocr')).accuracy).toBe(1));
  it('adds the structure bonus only when asked, and only to the right format', () => {
    const [text, options] = ['{"boxes":[0,0,1,1]}', { structureBonus: 'reference' }] as const;
    const score = (response: string, type: string, answer = text as string) =>
      scoreResponse(input(response, answer, type), options);
    expect(score(wrap(text), 'spatial grounding')).toEqual({ overall: 1.5, accuracy: 1, format: 1, structure: 0.5 });
    expect(score(wrap('{"boxes":[0,0,1,1],"x":1}'), 'spatial grounding').structure).toBe(0);
    expect(score(text, 'spatial grounding').structure).toBe(0);
    expect(score(wrap('8'), 'math', '7')).toEqual({ overall: 0.6, accuracy: 0, format: 1, structure: 0.5 });
    expect(score(wrap('{"boxes":{"1":0}}'), 'tracking', '{"boxes":{"1":[0,0,1,1],"2":[0,0,1,1]}}').structure).toBe(
      0.375,
    );
  });
  it('refuses what it does not know', () => {
    expect(() => scoreResponse(input('7', '7', 'maths'))).toThrow(
      expect.objectContaining({
        code: 'INVALID_DATA',
        message: expect.stringContaining('got "maths", did you mean "math"?'),
      }),
    );
    expect(() => scoreResponse(input('7', '7', 'math'), { formatWeight: 2 })).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', message: 'rewards: formatWeight must be in [0, 1]; got 2' }),
    );
  });
  it('says before training which ground truths it cannot read', () => {
    expect(checkAnswer('numerical', '3')).toBeUndefined();
    expect(checkAnswer('numerical', 'three')).toBe('numerical: the ground truth must be a number; got "three"');
    expect(problemTypeOf(' Spatial Grounding')).toBe('spatial grounding');
  });
});
