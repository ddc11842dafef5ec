import { stripVTControlCharacters } from 'node:util';

const graphemes = new Intl.Segmenter(undefined, { granularity: 'grapheme' });
/** Scripts and signs that take two columns of a terminal. */
const WIDE =
  /^[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\ua960-\ua97f\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{1f300}-\u{1f64f}\u{1f680}-\u{1f6ff}\u{1f900}-\u{1f9ff}\u{20000}-\u{3fffd}]|^\p{Emoji_Presentation}/u;
/** Signs that take none by themselves. */
const NONE = /^[\p{Mn}\p{Me}\p{Cf}\p{Cc}]+$/u;

const widthOf = (grapheme: string): number => (NONE.test(grapheme) ? 0 : WIDE.test(grapheme) ? 2 : 1);

/** How many columns of a terminal a text takes; colours take none. */
export function displayWidth(text: string): number {
  let width = 0;
  for (const { segment } of graphemes.segment(stripVTControlCharacters(text))) width += widthOf(segment);
  return width;
}

/** The text, or as much of its beginning as fits with an ellipsis behind it. Plain text: no colours. */
export function truncate(text: string, columns: number): string {
  if (displayWidth(text) <= columns) return text;
  let [shown, width] = ['', 0];
  for (const { segment } of graphemes.segment(text)) {
    width += widthOf(segment);
    if (width > columns - 1) break;
    shown += segment;
  }
  return columns < 1 ? '' : `${shown}…`;
}

/** Lines of at most so many columns, broken between words; a longer word has a line of its own. */
export function wrapText(text: string, columns: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const longer = lines.length > 0 ? `${lines.at(-1)} ${word}` : word;
    if (lines.length > 0 && displayWidth(longer) <= columns) lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  return lines;
}

/** Text of unknown origin on one line, without what would command a terminal. */
export const plainLine = (text: string): string =>
  stripVTControlCharacters(text)
    .replaceAll(/[\p{Cc}\u2028\u2029]+/gu, ' ')
    .trim();

/** Styles by name; without colours a text stays as it is. */
export type Paint = (style: 'bold' | 'dim' | 'red' | 'green' | 'yellow', text: string) => string;

const CODES = { bold: [1, 22], dim: [2, 22], red: [31, 39], green: [32, 39], yellow: [33, 39] } as const;

export const paintIn =
  (color: boolean): Paint =>
  (style, text) =>
    color ? `\u001b[${CODES[style][0]}m${text}\u001b[${CODES[style][1]}m` : text;
