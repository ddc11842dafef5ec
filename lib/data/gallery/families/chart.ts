import { COLOURS, SHADES } from '../palette.ts';
import type { Random } from '../random.ts';
import type { Bar } from '../scene.ts';
import { randomGround, type Family } from './family.ts';
import { PITCH } from './writing.ts';

/**
 * Four bars of four colours, values from 10 to 95 in fives, all different.
 *
 * 1: the value of the tallest, which leads by 10 at least · 2: the value of the bar of a colour · 3: the difference of two
 */
export const chart: Family = {
  task: 'chart',
  taskType: 'chart_figure_qa',
  problemType: 'regression',
  sample(random, level) {
    const bars = drawBars(random, level === 1);
    const byHeight = [...bars].sort((a, b) => b.value - a.value);
    const [asked, other] = level === 1 ? byHeight : random.sample(bars, 2);
    const answer = level < 3 ? asked!.value : Math.abs(asked!.value - other!.value);
    const [high, low] = [Math.max(asked!.value, other!.value), Math.min(asked!.value, other!.value)];
    const questions = {
      1: 'Value of the tallest bar?',
      2: `Value of the ${asked!.colour} bar?`,
      3: `Difference of the ${asked!.colour} and ${other!.colour} bars?`,
    };
    return {
      ground: randomGround(random),
      marks: bars,
      question: questions[level],
      options: [],
      answer: String(answer),
      thought: level < 3 ? `bar ${bars.indexOf(asked!) + 1}` : `${high}-${low}`,
      // the leftmost bar, or the one beside it
      hasty: String(level < 3 ? bars.find((bar) => bar !== asked)!.value : high),
    };
  },
};

function drawBars(random: Random, clearWinner: boolean): Bar[] {
  const fives = (from: number, to: number): number[] =>
    Array.from({ length: (to - from) / 5 + 1 }, (_, i) => from + 5 * i);
  const tallest = random.pick(fives(40, 95));
  const values = clearWinner
    ? random.shuffle([tallest, ...random.sample(fives(10, tallest - 10), 3)])
    : random.sample(fives(10, 95), 4);
  const colours = random.shuffle(COLOURS);
  const [width, shift, shade] = [random.between(9, 12), random.between(-1, 1), random.pick(SHADES)];
  return values.map((value, i) => ({
    type: 'bar',
    colour: colours[i]!,
    shade,
    x: i * PITCH + (PITCH - width) / 2 + shift,
    width,
    value,
  }));
}
