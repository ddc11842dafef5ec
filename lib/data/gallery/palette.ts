/** The four colours that questions speak of. */
export const COLOURS = ['red', 'green', 'blue', 'yellow'] as const;
export type Colour = (typeof COLOURS)[number];

/** Steps from darker to lighter; a shade never leaves its colour. */
export const SHADES = [-2, -1, 0, 1, 2] as const;

/** Light grounds on which every colour stands out. */
export const GROUNDS = ['#ffffff', '#f7f5f0', '#f1f4f8', '#f4f1f6', '#eef4ee', '#f4f4f4'] as const;

const BASE: Record<Colour, readonly [number, number, number]> = {
  red: [216, 40, 48],
  green: [30, 148, 74],
  blue: [38, 82, 212],
  yellow: [242, 182, 0],
};

/** `#rrggbb` of a colour in one of the shades: 6 % towards black or white per step. */
export function hex(colour: Colour, shade: number): string {
  const goal = shade < 0 ? 0 : 255;
  const share = Math.abs(shade) * 6;
  const channel = (value: number): number => Math.floor((value * (100 - share) + goal * share) / 100);
  return `#${BASE[colour].map((value) => channel(value).toString(16).padStart(2, '0')).join('')}`;
}
