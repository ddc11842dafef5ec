import type { Tags } from '../types.ts';

export const DEFAULT_TAGS: Tags = { think: 'think', answer: 'answer' };

/**
 * The text without white space around `<`, `>` and `/`, so that `< think >` is a tag.
 *
 * It reaches into answers too ("a / b" becomes "a/b"), which is why the ground truth passes through here as well.
 *
 * @source the released code of arXiv:2604.08539, which does the same before it scores
 */
export function tighten(text: string): string {
  return text.replace(/\s*([<>/])\s*/g, '$1');
}

/**
 * 1 if the whole response is one thinking block and then one answer block, else 0.
 *
 * White space may stand around and between the blocks; the blocks may be empty or have many lines. A second block, or
 * a tag inside a block, is 0: then nobody could say which answer is meant.
 */
export function formatReward(response: string, tags: Tags = DEFAULT_TAGS): 0 | 1 {
  const text = tighten(response).trim();
  const [think, answer] = [blockOf(tags.think), blockOf(tags.answer)];
  if (!text.startsWith(think.open) || !text.endsWith(answer.close)) return 0;
  const marks = [think.open, think.close, answer.open, answer.close];
  if (marks.some((mark) => text.split(mark).length !== 2)) return 0;
  return text.includes(think.close + answer.open) ? 1 : 0;
}

/** The trimmed inside of the first answer block; without one, the trimmed whole response. */
export function extractAnswer(response: string, tags: Tags = DEFAULT_TAGS): string {
  const text = tighten(response);
  const { open, close } = blockOf(tags.answer);
  const start = text.indexOf(open);
  const end = start < 0 ? -1 : text.indexOf(close, start + open.length);
  return (end < 0 ? text : text.slice(start + open.length, end)).trim();
}

function blockOf(tag: string): { open: string; close: string } {
  return { open: `<${tag}>`, close: `</${tag}>` };
}
