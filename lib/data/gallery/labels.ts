import { COLOURS } from './palette.ts';
import { boundsOf, covers, FRAME, KINDS, type Mark, type Scene, type Task } from './scene.ts';

/** What can be asked of every cell of a picture. */
export const NAMING_QUESTIONS = ['kind', 'colour', 'symbol', 'value', 'left', 'top', 'right', 'bottom'] as const;
export type NamingQuestion = (typeof NAMING_QUESTIONS)[number];

const OF_SHAPES = ['kind', 'colour', 'left', 'top', 'right', 'bottom'] as const;
const OF_TASK: Readonly<Record<Task, readonly NamingQuestion[]>> = {
  vqa: OF_SHAPES,
  spatial: OF_SHAPES,
  grounding: OF_SHAPES,
  math: ['kind', 'colour', 'symbol'],
  ocr: ['kind', 'colour', 'symbol'],
  chart: ['kind', 'colour', 'top', 'value'],
};

/** The word of a cell in which there is nothing. */
export const NOTHING = 'none';
/** A cell is named after the mark that covers at least this share of it, or as much as of any other cell … */
const SHARE = 0.2;
/** … unless another covers nearly as much. */
const RIVAL = 0.6;
/** Points per side of a cell at which coverage is looked up. */
const POINTS = 8;

/** Every word that a label can be. Each has to be one token. */
export const labelWords: readonly string[] = [
  NOTHING,
  ...KINDS,
  'bar',
  'letter',
  'digit',
  'sign',
  ...COLOURS,
  ...'ABCDEFGHIJKLMNOPQRSTUVWXYZ',
  ...'0123456789',
  '+',
  '-',
];

/** The questions that have an answer for pictures of a task. */
export function namingQuestions(task: Task): readonly NamingQuestion[] {
  return OF_TASK[task];
}

/**
 * One word per cell, row by row, that says what the cell shows; null where it is hard to say, because a mark only
 * touches the cell or two share it.
 *
 * `kind`, `colour` and `symbol` name the mark. `value` is the tens digit of a bar's value. The edges say where the
 * mark begins and ends inside the cell, in ninths of the cell from its left or upper side: "0" where it comes in from
 * before, "9" where it goes on behind.
 */
export function nameCells(scene: Scene, question: NamingQuestion, cellsPerSide: number): (string | null)[] {
  const side = FRAME / cellsPerSide;
  const cells = Array.from({ length: cellsPerSide ** 2 }, (_, cell) => ({
    left: (cell % cellsPerSide) * side,
    top: Math.floor(cell / cellsPerSide) * side,
    side,
  }));
  const shares = scene.marks.map((mark) => cells.map((cell) => coverage(mark, cell)));
  const needed = shares.map((ofMark) => Math.min(SHARE, Math.max(...ofMark)));
  return cells.map((cell, c) => {
    const present = scene.marks.map((_, m) => m).filter((m) => shares[m]![c]! > 0);
    const [first, second] = present.sort((m, n) => shares[n]![c]! - shares[m]![c]!);
    if (first === undefined) return NOTHING;
    const rival = second !== undefined && shares[second]![c]! > RIVAL * shares[first]![c]!;
    return rival || shares[first]![c]! < needed[first]! ? null : nameMark(scene.marks[first]!, question, cell);
  });
}

interface Cell {
  left: number;
  top: number;
  side: number;
}

/** The share of the cell that the mark covers. */
function coverage(mark: Mark, { left, top, side }: Cell): number {
  const [x0, y0, x1, y1] = boundsOf(mark);
  if (x1 <= left || y1 <= top || x0 >= left + side || y0 >= top + side) return 0;
  let hits = 0;
  for (let i = 0; i < POINTS; i++)
    for (let j = 0; j < POINTS; j++)
      if (covers(mark, left + ((i + 0.5) / POINTS) * side, top + ((j + 0.5) / POINTS) * side)) hits++;
  return hits / POINTS ** 2;
}

function nameMark(mark: Mark, question: NamingQuestion, { left, top, side }: Cell): string {
  const [x0, y0, x1, y1] = boundsOf(mark);
  const ninths = (offset: number): string => String(Math.min(9, Math.max(0, Math.round((9 * offset) / side))));
  switch (question) {
    case 'kind':
      return mark.type === 'shape' ? mark.kind : mark.type === 'bar' ? 'bar' : kindOfChar(mark.char);
    case 'colour':
      return mark.colour;
    case 'symbol':
      return mark.type === 'glyph' ? mark.char : NOTHING;
    case 'value':
      return mark.type === 'bar' ? String(Math.floor(mark.value / 10)) : NOTHING;
    case 'left':
      return ninths(x0 - left);
    case 'top':
      return ninths(y0 - top);
    case 'right':
      return ninths(x1 - left);
    case 'bottom':
      return ninths(y1 - top);
  }
}

function kindOfChar(char: string): string {
  return /\d/.test(char) ? 'digit' : /[A-Z]/.test(char) ? 'letter' : 'sign';
}
