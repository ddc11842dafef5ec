import { G2rpoError, nearestName } from '../runtime/errors.ts';
import type { Prompt, PromptVideo, Tags } from '../types.ts';
import { IMAGE_PLACEHOLDER, VIDEO_PLACEHOLDER } from './promptRow.ts';

/** A piece of the user's turn; an image is named by its path, a video by its folder or files. */
export type ContentPart =
  { type: 'text'; text: string } | { type: 'image'; image: string } | ({ type: 'video' } & PromptVideo);

export interface PromptTextOptions {
  /**
   * 'default' asks to think and to answer inside tags; 'plain' is the problem and its options and nothing else, which
   * suits small policies; any other text is a template with {problem}, {options} and {instructions}
   */
  template?: string;
  /** the same names as the rewards use */
  tags?: Tags;
}

const TEMPLATES = new Map([
  ['default', '{problem}{options}\n\n{instructions}'],
  ['plain', '{problem}{options}'],
]);
const PARTS = ['problem', 'options', 'instructions'];

/** What an answer of each problem type looks like. */
const ANSWER_SHAPES: ReadonlyMap<string, string> = new Map(
  Object.entries({
    'multiple choice': 'The answer is the letter of one option and nothing else, for example {open}B{close}.',
    math: 'The answer is the final result alone, as a number or in LaTeX, for example {open}\\frac{3}{4}{close}.',
    numerical: 'The answer is one number without a unit, for example {open}12.5{close}.',
    regression: 'The answer is one number without a unit, for example {open}37{close}.',
    ocr: 'The answer is the text exactly as it is written, for example {open}Open daily 9 to 5{close}.',
    'spatial grounding':
      'The answer is JSON with the corners of one box, each coordinate from 0 to 1000 along its side of the image, for example {open}{"boxes": [120, 45, 610, 780]}{close}.',
    'temporal grounding':
      'The answer is JSON with the start and end in seconds, for example {open}{"time": [3.5, 8.25]}{close}.',
    'spatial-temporal grounding':
      'The answer is JSON with the start and end in seconds and one box for every second between them, at most 32, for example {open}{"time": [3, 5], "boxes": {"3": [120, 45, 610, 780], "4": [125, 45, 615, 780]}}{close}.',
    tracking:
      'The answer is JSON with one box for every second, at most 32, for example {open}{"boxes": {"1": [120, 45, 610, 780], "2": [125, 45, 615, 780]}}{close}.',
    segmentation:
      'The answer is JSON with one box, three points on the object and three points off it, for example {open}{"boxes": [120, 45, 610, 780], "positive_points": [[300, 200], [350, 400], [320, 600]], "negative_points": [[20, 30], [900, 100], [700, 950]]}{close}.',
  }),
);

/**
 * The content of the one user turn: texts, images and videos in the order of the placeholders.
 *
 * With the default template the problem comes first, then the options of a multiple choice, one per line, then how to
 * think and answer, and last the shape the answer must have. In a template of your own an options part starts with its
 * line break and is empty for other problem types.
 *
 * @throws INVALID_PROMPT  placeholders disagree in number with images or videos
 * @throws INVALID_CONFIG  a template without {problem} or with a part that is not known
 */
export function assemblePrompt(prompt: Prompt, options: PromptTextOptions = {}): ContentPart[] {
  const { template = 'default', tags = { think: 'think', answer: 'answer' } } = options;
  const wrong = templateProblem(template);
  if (wrong !== undefined) throw new G2rpoError('INVALID_CONFIG', `prompt template: ${wrong}`, { template });
  const text = TEMPLATES.get(template) ?? template;
  const parts: ContentPart[] = [];
  for (const piece of text.split(/(\{(?:problem|options|instructions)\})/)) {
    if (piece === '{problem}') problemParts(prompt).forEach((part) => append(parts, part));
    else if (piece === '{options}') append(parts, { type: 'text', text: optionsText(prompt, template !== 'plain') });
    else if (piece === '{instructions}') append(parts, { type: 'text', text: instructions(prompt, tags) });
    else append(parts, { type: 'text', text: piece });
  }
  return parts;
}

/** What is wrong with a template, or with a name that no template has; undefined if it can be used. */
export function templateProblem(template: string): string | undefined {
  const text = TEMPLATES.get(template) ?? template;
  const names = [...text.matchAll(/\{([a-z]\w*)\}/gi)].map(([, name]) => name!);
  const unknown = names.find((name) => !PARTS.includes(name));
  if (unknown !== undefined) {
    const near = nearestName(unknown, PARTS);
    const hint = near === undefined ? '' : `, did you mean {${near}}?`;
    return `parts are {problem}, {options} and {instructions}; got {${unknown}}${hint}`;
  }
  const problems = names.filter((name) => name === 'problem').length;
  if (problems !== 1) {
    const near = problems === 0 ? nearestName(template, TEMPLATES.keys()) : undefined;
    const hint = near === undefined ? '' : `; did you mean ${near}?`;
    return `{problem} must appear once; got it ${problems} times in ${JSON.stringify(text.slice(0, 80))}${hint}`;
  }
  const placeholder = [IMAGE_PLACEHOLDER, VIDEO_PLACEHOLDER].find((each) => text.includes(each));
  return placeholder && `${placeholder} belongs in the problem of a row, not in the template`;
}

function problemParts({ problem, images, videos = [], source }: Prompt): ContentPart[] {
  const pieces = problem.trim().split(new RegExp(`(${IMAGE_PLACEHOLDER}|${VIDEO_PLACEHOLDER})`));
  for (const [placeholder, kind, { length }] of [
    [IMAGE_PLACEHOLDER, 'images', images],
    [VIDEO_PLACEHOLDER, 'videos', videos],
  ] as const) {
    const found = pieces.filter((piece) => piece === placeholder).length;
    if (found !== length)
      throw new G2rpoError(
        'INVALID_PROMPT',
        `${source.file} row ${source.row}: placeholders and ${kind} must be as many; got ${found} and ${length}`,
        { ...source },
      );
  }
  const [image, video] = [images.values(), videos.values()];
  return pieces.map((piece): ContentPart => {
    if (piece === IMAGE_PLACEHOLDER) return { type: 'image', image: image.next().value! };
    if (piece === VIDEO_PLACEHOLDER) return { type: 'video', ...video.next().value! };
    return { type: 'text', text: piece };
  });
}

function optionsText({ options, problemType }: Prompt, hasHeading: boolean): string {
  if (options.length === 0 || problemType.toLowerCase() !== 'multiple choice') return '';
  return `\n${hasHeading ? 'Options:\n' : ''}${options.join('\n')}`;
}

function instructions({ problemType, images, videos = [] }: Prompt, tags: Tags): string {
  const [open, close] = [`<${tags.answer}>`, `</${tags.answer}>`];
  const basis =
    images.length + videos.length === 0
      ? 'Answer the question.'
      : 'Answer the question from what the visual content shows.';
  const order =
    `First reason step by step between <${tags.think}> and </${tags.think}>, ` +
    `then give only the final answer between ${open} and ${close}, with nothing before, between or after the two.`;
  const shape = ANSWER_SHAPES.get(problemType.toLowerCase())?.replace('{open}', open).replace('{close}', close);
  return [basis, order, ...(shape === undefined ? [] : [shape])].join('\n');
}

/** Texts that meet become one; empty ones vanish. */
function append(parts: ContentPart[], part: ContentPart): void {
  const last = parts.at(-1);
  if (part.type !== 'text') parts.push(part);
  else if (part.text === '') return;
  else if (last?.type === 'text') last.text += part.text;
  else parts.push({ ...part });
}
