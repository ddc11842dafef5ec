import { randomGround, type Family } from './family.ts';
import { writeLine } from './writing.ts';

const FEW = [...'AHKLOTUX'];
const MANY = [...'ACEFHJKLMNOPRSTUVXYZ'];

/**
 * Letters, answered as words ("A X L") so that the word error rate is a rate of characters.
 *
 * 1: three of 8 letters in the middle · 2: three or four of 20 letters, anywhere · 3: two lines of three
 */
export const ocr: Family = {
  task: 'ocr',
  taskType: 'ocr',
  problemType: 'OCR',
  sample(random, level) {
    const draw = (count: number): string =>
      Array.from({ length: count }, () => random.pick(level === 1 ? FEW : MANY)).join('');
    const lines = level === 3 ? [draw(3), draw(3)] : [draw(level === 1 ? 3 : random.between(3, 4))];
    const middles =
      level === 3
        ? [random.between(14, 18), random.between(46, 50)]
        : [level === 1 ? random.between(29, 35) : random.between(14, 50)];
    const letters = [...lines.join('')];
    return {
      ground: randomGround(random),
      marks: lines.flatMap((line, i) => writeLine(random, line, middles[i]!)),
      question: 'Read the letters.',
      options: [],
      answer: letters.join(' '),
      thought: letters.join(''),
      hasty: letters.slice(0, -1).join(' '),
    };
  },
};
