import { randomGround, type Family } from './family.ts';
import { writeLine } from './writing.ts';

/**
 * A sum or a difference, written out; never below zero.
 *
 * 1: digits 1 to 6, the line in the middle · 2: digits 1 to 9, the line anywhere · 3: the first operand has two digits
 */
export const math: Family = {
  task: 'math',
  taskType: 'math_reasoning',
  problemType: 'math',
  sample(random, level) {
    const highest = level === 1 ? 6 : 9;
    const plus = random.chance(0.5);
    let [a, b] = [random.between(1, highest), random.between(1, highest)];
    if (level === 3) a = random.between(10, 49);
    else if (!plus && a < b) [a, b] = [b, a];
    const expression = `${a}${plus ? '+' : '-'}${b}`;
    return {
      ground: randomGround(random),
      marks: writeLine(random, expression, level === 1 ? random.between(29, 35) : random.between(14, 50)),
      question: 'Compute.',
      options: [],
      answer: String(plus ? a + b : a - b),
      thought: expression,
      hasty: String(plus ? a : a + b),
    };
  },
};
