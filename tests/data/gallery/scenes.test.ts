import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { FAMILIES } from '../../../lib/data/gallery/families/index.ts';
import { respond } from '../../../lib/data/gallery/demonstrations.ts';
import { labelWords, nameCells, namingQuestions } from '../../../lib/data/gallery/labels.ts';
import { Random } from '../../../lib/data/gallery/random.ts';
import { renderScenes } from '../../../lib/data/gallery/render.ts';
import { partOf, sampleScene } from '../../../lib/data/gallery/sample.ts';
import { boundsOf, FRAME, LEVELS, TASKS, type Level, type Scene, type Task } from '../../../lib/data/gallery/scene.ts';
import { scoreResponse } from '../../../lib/rewards/index.ts';
import type { Prompt } from '../../../lib/types.ts';

const prompt = {} as Prompt; // these rewards look at the texts alone

type Box = [number, number, number, number];

const everyLevel = TASKS.flatMap((task) => LEVELS.map((level) => ({ task, level })));

function scenesOf(task: Task, level: Level, count: number): Scene[] {
  const levels = { [level]: 1 };
  return Array.from({ length: count }, (_, index) =>
    sampleScene({ seed: 5, stream: 'test', part: 'train', task, index }, levels),
  );
}

function isWellFormed({ task, options, answer }: Scene): boolean {
  switch (FAMILIES[task].problemType) {
    case 'multiple choice':
      return options.some((option) => option.startsWith(`${answer}. `));
    case 'math':
      return /^\d+$/.test(answer);
    case 'regression':
      return /^\d+$/.test(answer) && Number(answer) > 0;
    case 'OCR':
      return /^[A-Z]( [A-Z]){2,5}$/.test(answer);
    default: {
      const { boxes } = JSON.parse(answer) as { boxes: number[] };
      const [x0, y0, x1, y1] = boxes as [number, number, number, number];
      return boxes.length === 4 && boxes.every((v) => Number.isInteger(v) && v >= 0 && v <= 1000) && x0 < x1 && y0 < y1;
    }
  }
}

describe.each(everyLevel)('$task, level $level', ({ task, level }) => {
  const scenes = scenesOf(task, level, 2000);

  it('always ends, with a well-formed answer that is not the hasty one', () => {
    const hastyForm = (scene: Scene): boolean => task === 'ocr' || isWellFormed({ ...scene, answer: scene.hasty });
    const isLettered = ({ options }: Scene): boolean =>
      options.every((option, i) => /^. [a-z]+$/.test(option.slice(1)) && option.startsWith('ABCD'[i]!));
    expect(scenes).toHaveLength(2000);
    expect(scenes.filter((scene) => !isWellFormed(scene))).toEqual([]);
    expect(scenes.filter((scene) => !hastyForm(scene))).toEqual([]);
    expect(scenes.filter(({ hasty, answer }) => hasty === answer)).toEqual([]);
    expect(scenes.filter((scene) => !isLettered(scene))).toEqual([]);
  });

  it('scores 1 for the answer and less for the hasty one, in a response of the right form', () => {
    const { problemType } = FAMILIES[task];
    for (const { thought, answer, hasty } of scenes.slice(0, 200)) {
      const score = (response: string): number => scoreResponse({ response, answer, problemType, prompt }).overall;
      expect(score(respond(thought, answer))).toBe(1);
      expect(score(respond('', hasty))).toBeLessThan(1);
    }
  });

  it('keeps every mark inside the frame and apart from the others', () => {
    const isInside = ([x0, y0, x1, y1]: Box): boolean => Math.min(x0, y0, FRAME - x1, FRAME - y1) >= 0;
    const areApart = ([x0, y0, x1, y1]: Box, [u0, v0, u1, v1]: Box): boolean =>
      x1 <= u0 || u1 <= x0 || y1 <= v0 || v1 <= y0;
    for (const { marks } of scenes) {
      const boxes = marks.map(boundsOf);
      const fine = boxes.every((box, i) => isInside(box) && boxes.slice(i + 1).every((other) => areApart(box, other)));
      if (!fine) expect.fail(JSON.stringify(marks));
    }
  });

  it('names every mark, and cells by words of the list only', () => {
    for (const scene of scenes.slice(0, 200))
      for (const question of namingQuestions(task)) {
        const labels = nameCells(scene, question, 4);
        expect(labels).toHaveLength(16);
        expect(labels.filter((label) => label !== null && !labelWords.includes(label))).toEqual([]);
        const named = new Set(labels.filter((label) => label !== null && label !== 'none'));
        expect(named.size, JSON.stringify(scene)).toBeGreaterThan(0);
      }
  });

  it('rarely repeats itself', () => {
    expect(new Set(scenes.map((scene) => JSON.stringify(scene.marks))).size).toBeGreaterThan(1900);
  });
});

describe('answers', () => {
  it('of the maths agree with the picture', () => {
    for (const level of LEVELS)
      for (const { marks, answer } of scenesOf('math', level, 500)) {
        const written = marks.map((mark) => (mark.type === 'glyph' ? mark.char : '')).join('');
        const [, a, sign, b] = /^(\d+)([+-])(\d)$/.exec(written)!;
        expect(Number(a) + (sign === '+' ? 1 : -1) * Number(b)).toBe(Number(answer));
        expect(Number(answer)).toBeGreaterThanOrEqual(0);
      }
  });

  it('of the charts agree with the bars', () => {
    const value = (scene: Scene, colour: string): number =>
      scene.marks
        .map((mark) => (mark.type === 'bar' && mark.colour === colour ? mark.value : 0))
        .reduce((a, b) => a + b);
    for (const scene of scenesOf('chart', 1, 500)) {
      const values = scene.marks.map((mark) => (mark.type === 'bar' ? mark.value : NaN)).sort((a, b) => b - a);
      expect(Number(scene.answer)).toBe(values[0]);
      expect(values[0]! - values[1]!).toBeGreaterThanOrEqual(10);
    }
    for (const scene of scenesOf('chart', 2, 500))
      expect(value(scene, /the (\w+) bar/.exec(scene.question)![1]!)).toBe(Number(scene.answer));
    for (const scene of scenesOf('chart', 3, 500)) {
      const [, a, b] = /the (\w+) and (\w+) bars/.exec(scene.question)!;
      expect(Math.abs(value(scene, a!) - value(scene, b!))).toBe(Number(scene.answer));
    }
  });

  it('of the spatial task agree with the places', () => {
    for (const level of LEVELS)
      for (const { marks, question, options, answer } of scenesOf('spatial', level, 500)) {
        const [, one, other] = /^Where is the (\w+)(?: shape)? from the (\w+)(?: shape)?\?$/.exec(question)!;
        const find = (name: string): { x: number; y: number } => {
          const named = marks.filter((mark) => mark.type === 'shape' && (mark.colour === name || mark.kind === name));
          expect(named).toHaveLength(1);
          return named[0] as { x: number; y: number };
        };
        const [dx, dy] = [find(one!).x - find(other!).x, find(one!).y - find(other!).y];
        expect(Math.abs(Math.abs(dx) - Math.abs(dy))).toBeGreaterThanOrEqual(10);
        const side = Math.abs(dx) > Math.abs(dy) ? (dx < 0 ? 'left' : 'right') : dy < 0 ? 'above' : 'below';
        expect(options.find((option) => option.startsWith(answer))).toBe(`${answer}. ${side}`);
      }
  });

  it('of look-ups speak of exactly one shape', () => {
    for (const task of ['vqa', 'grounding'] as const)
      for (const { marks, question } of scenesOf(task, 3, 500)) {
        const name = /the (\w+)/.exec(question)![1]!;
        expect(
          marks.filter((mark) => mark.type === 'shape' && (mark.colour === name || mark.kind === name)),
        ).toHaveLength(1);
      }
  });
});

describe('labels', () => {
  it('say what stands in a cell, and where it begins and ends', () => {
    const scene = { ...scenesOf('grounding', 1, 1)[0]! };
    scene.marks = [{ type: 'shape', kind: 'square', colour: 'red', shade: 0, x: 24, y: 36, r: 12 }]; // 12…36 × 24…48
    const o = 'none';
    expect(nameCells(scene, 'kind', 4)).toEqual([
      ...[o, o, o, o],
      ...[null, 'square', null, o], // 12.5 % of the outer cells
      ...['square', 'square', 'square', o],
      ...[o, o, o, o],
    ]);
    expect(nameCells(scene, 'left', 4).slice(8, 12)).toEqual(['7', '0', '0', 'none']); // 12/16, then from before
    expect(nameCells(scene, 'right', 4).slice(8, 12)).toEqual(['9', '9', '2', 'none']); // 36 − 32 = 4 of 16
    expect(nameCells(scene, 'top', 4)[5]).toBe('5'); // (24 − 16) / 16 of nine: 4.5
    expect(nameCells(scene, 'bottom', 4)[9]).toBe('9');
  });
});

describe('parts', () => {
  it('are decided by the picture, not by the question or the seed', () => {
    const counts = { validation: 0, train: 0, demonstrations: 0 };
    const random = new Random('parts');
    for (let i = 0; i < 4000; i++) {
      const scene: Scene = { task: 'vqa', level: 2, ...FAMILIES.vqa.sample(random, 2) };
      expect(partOf({ ...scene, question: 'Another?', answer: 'Z', level: 1 })).toBe(partOf(scene));
      counts[partOf(scene)]++;
    }
    expect(counts.validation / 4000).toBeCloseTo(2 / 16, 1);
    expect(counts.train / 4000).toBeCloseTo(7 / 16, 1);
  });

  it('hold only their own scenes', () => {
    for (const part of ['validation', 'train', 'demonstrations'] as const)
      for (let index = 0; index < 300; index++)
        expect(partOf(sampleScene({ seed: index % 3, stream: 'any', part, task: 'math', index }))).toBe(part);
  });
});

describe('pixels', () => {
  const fixed = (task: Task): Scene[] => LEVELS.map((level) => scenesOf(task, level, 1)[0]!);
  const sha = (rgb: Uint8Array): string => createHash('sha256').update(rgb).digest('hex').slice(0, 16);

  it.each(TASKS)('of %s are the ones written down', async (task) => {
    expect((await renderScenes(fixed(task), 64)).map(sha)).toEqual(PIXELS[task]);
  });

  it('do not depend on the neighbours on the sheet', async () => {
    const scenes = scenesOf('vqa', 3, 300);
    const together = await renderScenes(scenes, 64);
    for (const i of [0, 17, 255, 256, 299]) {
      const [alone] = await renderScenes([scenes[i]!], 64);
      expect(sha(alone!)).toBe(sha(together[i]!));
    }
  });

  it('show the colour of a shape at its centre, at every size', async () => {
    const scene = scenesOf('grounding', 1, 1)[0]!;
    scene.marks = [{ type: 'shape', kind: 'circle', colour: 'red', shade: 0, x: 20, y: 40, r: 10 }];
    for (const size of [32, 64, 96, 1056]) {
      const [rgb] = await renderScenes([scene], size);
      const at = 3 * (Math.floor((40 * size) / FRAME) * size + Math.floor((20 * size) / FRAME));
      expect([...rgb!.subarray(at, at + 3)]).toEqual([216, 40, 48]);
    }
  });
});

/** SHA-256 (first 16 digits) of the RGB bytes of the first scene of each level. */
const PIXELS: Record<Task, string[]> = {
  vqa: ['6a1daaa81f5cc97f', '96c5d0a299273324', '1df835c4a48d689e'],
  math: ['20efc271cf60fe57', '69bd39c7dceea586', '6d3a2b72515d5e44'],
  chart: ['3072a68a19fffb75', 'f6055df025e5ac99', 'f6055df025e5ac99'],
  ocr: ['829f0523a1e248bf', 'f9c16525e7a58d92', 'ca69e0c98f470b34'],
  spatial: ['f97e3a58a3e20f28', '111bffc898a0a589', 'e99efa16a927e843'],
  grounding: ['c74e97764a6017fc', 'a5c072a2e4a9a914', '726204f581c39dd7'],
};
