import { boundsOf, FRAME, type Mark } from '../scene.ts';
import { cellOf, randomGround, shapesInQuarters, shapeWithin, type Family } from './family.ts';

/**
 * The box of a shape, [left, top, right, bottom] in thousandths of the picture.
 *
 * 1: the only shape · 2: the one of a colour, of two · 3: the one of a kind, of three
 */
export const grounding: Family = {
  task: 'grounding',
  taskType: 'spatial_grounding',
  problemType: 'spatial grounding',
  sample(random, level) {
    const marks =
      level === 1
        ? [shapeWithin(random, { left: 0, top: 0, side: FRAME }, { low: 8, high: 18 })]
        : shapesInQuarters(random, level);
    const asked = marks[0]!;
    const which = { 1: 'shape', 2: `${asked.colour} shape`, 3: asked.kind }[level];
    return {
      ground: randomGround(random),
      marks,
      question: `Box of the ${which}.`,
      options: [],
      answer: boxJson(asked, 0),
      thought: `${asked.colour} ${cellOf(asked)}`,
      hasty: boxJson(asked, 150),
    };
  },
};

/** The box as JSON, `margin` thousandths too large on each side, but inside the picture. */
function boxJson(mark: Mark, margin: number): string {
  const [left, top, right, bottom] = boundsOf(mark).map((edge) => Math.round((edge * 1000) / FRAME));
  const box = [left! - margin, top! - margin, right! + margin, bottom! + margin];
  return JSON.stringify({ boxes: box.map((edge) => Math.min(1000, Math.max(0, edge))) });
}
