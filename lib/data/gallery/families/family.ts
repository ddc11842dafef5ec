import { COLOURS, GROUNDS, SHADES, type Colour } from '../palette.ts';
import type { Random } from '../random.ts';
import { FRAME, KINDS, type Kind, type Level, type Scene, type Shape, type Task } from '../scene.ts';

/** One sort of visual question: how its scenes are made, and how its answers are scored. */
export interface Family {
  task: Task;
  /** the category of the paper */
  taskType: string;
  /** the reward branch */
  problemType: string;
  /** A scene of the level; everything is placed by construction, so a scene always comes out at the first try. */
  sample(random: Random, level: Level): Omit<Scene, 'task' | 'level'>;
}

export const SIDES = ['left', 'right', 'above', 'below'] as const;

/** A ground and nothing on it yet. */
export function randomGround(random: Random): string {
  return random.pick(GROUNDS);
}

/** "A. red", "B. green", … */
export function lettered(words: readonly string[]): string[] {
  return words.map((word, i) => `${letterOf(i)}. ${word}`);
}

/** "A" for 0, "B" for 1, … */
export function letterOf(index: number): string {
  return String.fromCharCode(65 + index);
}

/** A multiple-choice part of a scene: the right letter, and the one after it (round the end) for the hasty. */
export function choice(words: readonly string[], right: string): { options: string[]; answer: string; next: string } {
  const index = words.indexOf(right);
  return { options: lettered(words), answer: letterOf(index), next: letterOf((index + 1) % words.length) };
}

/** "2 3": the column and row, from 1, of a point on a grid of 4 × 4. */
export function cellOf({ x, y }: { x: number; y: number }): string {
  return `${Math.floor((4 * x) / FRAME) + 1} ${Math.floor((4 * y) / FRAME) + 1}`;
}

/** A shape somewhere in the square [left, left + side) × [top, top + side), entirely inside it. */
export function shapeWithin(
  random: Random,
  square: { left: number; top: number; side: number },
  radius: { low: number; high: number },
  { kind, colour }: { kind?: Kind; colour?: Colour } = {},
): Shape {
  const r = random.between(radius.low, radius.high);
  const place = (from: number): number => random.between(from + r + 1, from + square.side - r - 1);
  return {
    type: 'shape',
    kind: kind ?? random.pick(KINDS),
    colour: colour ?? random.pick(COLOURS),
    shade: random.pick(SHADES),
    x: place(square.left),
    y: place(square.top),
    r,
  };
}

/** Shapes of different kinds and different colours, each in a quarter of the frame of its own. */
export function shapesInQuarters(random: Random, count: number): Shape[] {
  const side = FRAME / 2;
  const quarters = random.sample([0, 1, 2, 3], count);
  const kinds = random.sample(KINDS, count);
  const colours = random.sample(COLOURS, count);
  return quarters.map((quarter, i) => {
    const square = { left: (quarter % 2) * side, top: Math.floor(quarter / 2) * side, side };
    return shapeWithin(random, square, { low: 8, high: 13 }, { kind: kinds[i]!, colour: colours[i]! });
  });
}
