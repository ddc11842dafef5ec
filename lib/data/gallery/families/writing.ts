import { COLOURS, SHADES } from '../palette.ts';
import type { Random } from '../random.ts';
import { FRAME, type Glyph } from '../scene.ts';

/** The distance from one character to the next: a quarter of the frame. */
export const PITCH = FRAME / 4;

/**
 * A line of at most four characters, one colour and one height, each in a column of its own.
 *
 * @param centre  the height of the line's middle
 */
export function writeLine(random: Random, text: string, centre: number): Glyph[] {
  const height = random.between(20, 23);
  const [colour, shade] = [random.pick(COLOURS), random.pick(SHADES)];
  const indent = random.between(0, FRAME / PITCH - text.length) * PITCH;
  const shift = random.between(-1, 1);
  const width = (height * 20) / 32;
  return [...text].map((char, i) => ({
    type: 'glyph',
    char,
    colour,
    shade,
    x: indent + i * PITCH + (PITCH - width) / 2 + shift * 0.5,
    y: centre - height / 2,
    height,
  }));
}
