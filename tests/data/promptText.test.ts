import { describe, expect, it } from 'vitest';
import { assemblePrompt } from '../../lib/data/promptText.ts';
import { PROBLEM_TYPES, type Prompt } from '../../lib/types.ts';

const base: Prompt = {
  source: { file: 'rows.jsonl', row: 4 },
  problem: ' <image>Which colour? ',
  images: ['/a.png'],
  problemType: 'multiple choice',
  taskType: 'other',
  options: ['A. red <image> {problem}', 'B. blue'],
  answer: 'A',
  extra: {},
};
const textOf = (prompt: Prompt, options = {}) =>
  assemblePrompt(prompt, options)
    .map((part) => (part.type === 'text' ? part.text : `«${part.type === 'image' ? part.image : String(part.frames)}»`))
    .join('');

describe('assemblePrompt', () => {
  it('is the problem and its options and nothing else when plain', () => {
    expect(assemblePrompt(base, { template: 'plain' })).toEqual([
      { type: 'image', image: '/a.png' },
      { type: 'text', text: 'Which colour?\nA. red <image> {problem}\nB. blue' },
    ]);
    expect(assemblePrompt({ ...base, problemType: 'math', problem: 'x', images: [] }, { template: 'plain' })).toEqual([
      { type: 'text', text: 'x' },
    ]);
  });

  it('puts problem, options, the way to answer and the shape of the answer in this order by default', () => {
    const text = textOf(base);
    const order = [
      '«/a.png»Which colour?',
      'Options:\nA. red',
      '<think>',
      '</think>',
      '<answer>',
      'letter of one option',
    ];
    expect(order.map((piece) => text.indexOf(piece))).toEqual(
      order.map((piece) => text.indexOf(piece)).sort((a, b) => a - b),
    );
    expect(order.every((piece) => text.includes(piece))).toBe(true);
    expect(text).toContain('<answer>B</answer>');
    expect(text).toContain('visual content');
    expect(textOf({ ...base, problem: 'x', images: [] })).not.toContain('visual content');
  });

  it('shows every problem type the shape of its answer, in the tags of the configuration', () => {
    const tags = { think: 'thinking', answer: 'final' };
    for (const problemType of PROBLEM_TYPES)
      expect(textOf({ ...base, problemType }, { tags })).toMatch(/<final>.+<\/final>\.$/);
    const grounding = textOf({ ...base, problemType: 'spatial grounding' }, { tags });
    expect(grounding).toContain('<thinking> and </thinking>');
    expect(grounding).toContain('<final>{"boxes": [120, 45, 610, 780]}</final>');
    expect(textOf({ ...base, problemType: 'constructor' }, { tags })).toMatch(/after the two\.$/);
  });

  it('interleaves text and images in the order of the placeholders', () => {
    const prompt = { ...base, problem: 'a <image> b <image><image>', images: ['/1', '/2', '/3'], options: [] };
    expect(assemblePrompt(prompt, { template: 'plain' })).toEqual([
      { type: 'text', text: 'a ' },
      { type: 'image', image: '/1' },
      { type: 'text', text: ' b ' },
      { type: 'image', image: '/2' },
      { type: 'image', image: '/3' },
    ]);
  });

  it('fills a template of your own, and leaves other braces alone', () => {
    const prompt = { ...base, problem: 'Where is $& {options}?', images: [], problemType: 'OCR' };
    expect(textOf(prompt, { template: 'Q: {problem}\nReply as {"boxes": []}.{options}' })).toBe(
      'Q: Where is $& {options}?\nReply as {"boxes": []}.',
    );
  });

  it.each([
    [
      'Q: {problm}',
      'prompt template: parts are {problem}, {options} and {instructions}; got {problm}, did you mean {problem}?',
    ],
    ['plane', 'prompt template: {problem} must appear once; got it 0 times in "plane"; did you mean plain?'],
    ['{problem}{problem}', 'prompt template: {problem} must appear once; got it 2 times in "{problem}{problem}"'],
    ['<image>{problem}', 'prompt template: <image> belongs in the problem of a row, not in the template'],
  ])('refuses the template %s', (template, message) =>
    expect(() => assemblePrompt(base, { template })).toThrow(
      expect.objectContaining({ code: 'INVALID_CONFIG', message }),
    ),
  );

  it('puts pictures and videos where their placeholders stand', () => {
    const videos = [{ frames: '/clip', fps: 2 }, { frames: ['/1', '/2'], fps: 5 }]; // prettier-ignore
    const prompt = { ...base, problem: '<video>a<image>b <video>', videos, options: [] };
    expect(assemblePrompt(prompt, { template: 'plain' })).toEqual([
      { type: 'video', frames: '/clip', fps: 2 },
      { type: 'text', text: 'a' },
      { type: 'image', image: '/a.png' },
      { type: 'text', text: 'b ' },
      { type: 'video', frames: ['/1', '/2'], fps: 5 },
    ]);
    expect(textOf({ ...base, problem: 'x<video>', images: [], videos: [videos[0]!] })).toContain('visual content');
    expect(() => assemblePrompt({ ...base, problem: '<image>', videos })).toThrow(
      expect.objectContaining({
        code: 'INVALID_PROMPT',
        message: 'rows.jsonl row 4: placeholders and videos must be as many; got 0 and 2',
      }),
    );
    expect(() => assemblePrompt(base, { template: '<video>{problem}' })).toThrow('<video> belongs in the problem');
  });

  it('refuses a prompt whose placeholders and images disagree', () =>
    expect(() => assemblePrompt({ ...base, images: [] })).toThrow(
      expect.objectContaining({
        code: 'INVALID_PROMPT',
        message: 'rows.jsonl row 4: placeholders and images must be as many; got 1 and 0',
      }),
    ));
});
