import { createHash } from 'node:crypto';
import { GLYPH_HEIGHT, GLYPH_WIDTH } from './glyphs.ts';
import type { Colour } from './palette.ts';

export const TASKS = ['vqa', 'math', 'chart', 'ocr', 'spatial', 'grounding'] as const;
export type Task = (typeof TASKS)[number];
export const LEVELS = [1, 2, 3] as const;
export type Level = (typeof LEVELS)[number];
export const KINDS = ['circle', 'square', 'triangle'] as const;
export type Kind = (typeof KINDS)[number];

/** Scenes are described on a square of this side, whatever the size of the picture. */
export const FRAME = 64;

interface Ink {
  colour: Colour;
  shade: number;
}
/** A filled figure; `r` is half the side of its bounding square. */
export interface Shape extends Ink {
  type: 'shape';
  kind: Kind;
  x: number;
  y: number;
  r: number;
}
/** A letter, digit or sign with its left upper corner and its height. */
export interface Glyph extends Ink {
  type: 'glyph';
  char: string;
  x: number;
  y: number;
  height: number;
}
/** A bar of a chart, standing on the base line. */
export interface Bar extends Ink {
  type: 'bar';
  x: number;
  width: number;
  value: number;
}
export type Mark = Shape | Glyph | Bar;

/** What a picture shows, and what is asked of it. */
export interface Scene {
  task: Task;
  level: Level;
  ground: string;
  marks: Mark[];
  question: string;
  /** lettered, in the order in which they are offered; empty unless the question is multiple choice */
  options: string[];
  answer: string;
  /** the steps that lead to the answer, in a few words */
  thought: string;
  /** what one answers who does not look twice; never the answer */
  hasty: string;
}

/** The base line of charts, and the length of one unit of value. */
export const CHART_BASE = 61;
export const CHART_UNIT = 0.6;

/** [left, top, right, bottom] in the frame. */
export function boundsOf(mark: Mark): [number, number, number, number] {
  switch (mark.type) {
    case 'shape':
      return [mark.x - mark.r, mark.y - mark.r, mark.x + mark.r, mark.y + mark.r];
    case 'glyph':
      return [mark.x, mark.y, mark.x + (mark.height * GLYPH_WIDTH) / GLYPH_HEIGHT, mark.y + mark.height];
    case 'bar':
      return [mark.x, CHART_BASE - mark.value * CHART_UNIT, mark.x + mark.width, CHART_BASE];
  }
}

/** Whether the point lies on the mark; a glyph counts as its box. */
export function covers(mark: Mark, x: number, y: number): boolean {
  const [left, top, right, bottom] = boundsOf(mark);
  if (x < left || x >= right || y < top || y >= bottom) return false;
  if (mark.type !== 'shape' || mark.kind === 'square') return true;
  if (mark.kind === 'circle') return (x - mark.x) ** 2 + (y - mark.y) ** 2 < mark.r ** 2;
  return Math.abs(x - mark.x) <= (y - top) / 2;
}

/** The picture of a scene in words: equal texts are equal pictures. The question is no part of it. */
export function describe({ task, ground, marks }: Scene): string {
  return JSON.stringify([task, ground, marks.map((mark) => Object.entries(mark).sort(byKey))]);
}

function byKey([a]: [string, unknown], [b]: [string, unknown]): number {
  return a < b ? -1 : 1;
}

/** 16 hexadecimal digits that stand for the picture of a scene. */
export function sceneHash(scene: Scene): string {
  return createHash('sha256').update(describe(scene)).digest('hex').slice(0, 16);
}
