import type { Random } from '../random.ts';
import { COLOURS, SHADES } from '../palette.ts';
import { FRAME, KINDS, type Shape } from '../scene.ts';
import { cellOf, choice, randomGround, SIDES, type Family } from './family.ts';

type Side = (typeof SIDES)[number];
const OPPOSITE: Record<Side, Side> = { left: 'right', right: 'left', above: 'below', below: 'above' };

/**
 * On which side of one shape is the other? The two are at least 20 apart along that axis and at most 10 along the other.
 *
 * 1: the red one from the blue one, options always in the same order · 2: a third shape, options shuffled ·
 * 3: the two are named by their kinds
 */
export const spatial: Family = {
  task: 'spatial',
  taskType: 'spatial_reasoning',
  problemType: 'multiple choice',
  sample(random, level) {
    const side = random.pick(SIDES);
    const [asked, from] = placePair(random, side, level > 1);
    if (level === 3) {
      const [kinds, colours] = [random.sample(KINDS, 2), random.sample(COLOURS, 2)];
      Object.assign(asked, { kind: kinds[0], colour: colours[0] });
      Object.assign(from, { kind: kinds[1], colour: colours[1] });
    }
    const marks = level > 1 ? [asked, from, placeThird(random, side, asked, from)] : [asked, from];
    const words = level === 1 ? SIDES : random.shuffle(SIDES);
    const { options, answer } = choice(words, side);
    const name = ({ kind, colour }: Shape): string => (level === 3 ? kind : `${colour} shape`);
    return {
      ground: randomGround(random),
      marks: random.shuffle(marks),
      question: `Where is the ${name(asked)} from the ${name(from)}?`,
      options,
      answer,
      thought: `${cellOf(asked)} , ${cellOf(from)} ${side}`,
      hasty: choice(words, OPPOSITE[side]).answer,
    };
  },
};

/** A red shape on the given side of a blue one; with `aside` both keep to one half of the frame across their axis. */
function placePair(random: Random, side: Side, aside: boolean): [Shape, Shape] {
  const radii = [random.between(6, 9), random.between(6, 9)] as const;
  const [near, far] = [random.between(11, 22), random.between(42, 53)];
  const middle = aside ? random.pick([15, 49]) : random.between(16, 48);
  const across = [middle + random.between(-5, 5), middle + random.between(-5, 5)] as const;
  return order(random, side, [near, far], across, radii);
}

type Two = readonly [number, number];

function order(random: Random, side: Side, [near, far]: Two, across: Two, radii: Two): [Shape, Shape] {
  const along = side === 'left' || side === 'above' ? [near, far] : [far, near];
  const horizontal = side === 'left' || side === 'right';
  const make = (i: 0 | 1): Shape => ({
    type: 'shape',
    kind: random.pick(KINDS),
    colour: i === 0 ? 'red' : 'blue',
    shade: random.pick(SHADES),
    x: horizontal ? along[i]! : across[i],
    y: horizontal ? across[i] : along[i]!,
    r: radii[i],
  });
  return [make(0), make(1)];
}

/** A shape that is not asked for, of another colour (and kind, where kinds are named), in the other half of the frame. */
function placeThird(random: Random, side: Side, asked: Shape, from: Shape): Shape {
  const horizontal = side === 'left' || side === 'right';
  const pair = horizontal ? asked.y : asked.x;
  const across = pair < FRAME / 2 ? random.between(49, 54) : random.between(10, 15);
  const along = random.between(10, 54);
  const colours = COLOURS.filter((colour) => colour !== asked.colour && colour !== from.colour);
  const kinds = KINDS.filter((kind) => asked.kind === from.kind || (kind !== asked.kind && kind !== from.kind));
  return {
    type: 'shape',
    kind: random.pick(kinds),
    colour: random.pick(colours),
    shade: random.pick(SHADES),
    x: horizontal ? along : across,
    y: horizontal ? across : along,
    r: random.between(6, 8),
  };
}
