import { COLOURS } from '../palette.ts';
import { FRAME, KINDS } from '../scene.ts';
import { cellOf, choice, randomGround, shapesInQuarters, shapeWithin, type Family } from './family.ts';

/**
 * What is it, what colour has it?
 *
 * 1: the colour of the only shape, options always in the same order · 2: its colour or its kind, options shuffled ·
 * 3: two or three shapes, one picked out by its kind or its colour
 */
export const vqa: Family = {
  task: 'vqa',
  taskType: 'general_vqa_science_stem',
  problemType: 'multiple choice',
  sample(random, level) {
    const marks =
      level === 3
        ? shapesInQuarters(random, random.between(2, 3))
        : [shapeWithin(random, { left: 0, top: 0, side: FRAME }, { low: 9, high: 18 })];
    const asked = marks[0]!;
    const ofColour = level === 1 || random.chance(0.5);
    const right = ofColour ? asked.colour : asked.kind;
    const words: readonly string[] = ofColour ? COLOURS : KINDS;
    const { options, answer, next } = choice(level === 1 ? words : random.shuffle(words), right);
    const which = level < 3 ? 'shape' : ofColour ? asked.kind : `${asked.colour} shape`;
    return {
      ground: randomGround(random),
      marks,
      question: `${ofColour ? 'Colour' : 'Kind'} of the ${which}?`,
      options,
      answer,
      thought: level < 3 ? right : `${cellOf(asked)} ${right}`,
      hasty: next,
    };
  },
};
