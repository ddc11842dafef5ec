import { scaleLinear } from 'd3-scale';
import { area, line } from 'd3-shape';

/** A curve with a band around it. */
export interface Series {
  label: string;
  colour: string;
  points: readonly { x: number; y: number; low?: number; high?: number }[];
}

/** A panel of curves, or of areas that stand on each other. */
export interface Panel {
  title: string;
  series: readonly Series[];
  /** default: from the data */
  yRange?: readonly [low: number, high: number];
  stacked?: boolean;
  /** dashed lines across, e.g. the bounds of a band */
  marks?: readonly number[];
}

export interface ChartOptions {
  title: string;
  xLabel: string;
  yLabel: string;
  /** panels beside each other; default 3 */
  columns?: number;
}

/** Colours that people who see few of them can tell apart, on white and on black. @source M. Okabe and K. Ito, 2008 */
export const COLOURS = [
  '#0072b2',
  '#d55e00',
  '#009e73',
  '#cc79a7',
  '#e69f00',
  '#56b4e9',
  '#7f7f7f',
  '#a0522d',
  '#b8a800',
];

const [WIDTH, HEIGHT, LEFT, TOP, GAP] = [300, 190, 46, 26, 22];

/** Panels of curves as an SVG, with one legend for all. */
export function chart(panels: readonly Panel[], { title, xLabel, yLabel, columns = 3 }: ChartOptions): string {
  const across = Math.min(columns, panels.length);
  const w = across * (WIDTH + GAP) + GAP;
  const top = 36 + Math.ceil(panels.length / across) * (HEIGHT + GAP);
  const legend = legendOf(panels, w);
  const h = top + LINE * legend.lines;
  return `${[
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${w} ${h}" width="${w}" height="${h}" font-family="system-ui, sans-serif" font-size="11">`,
    `<rect width="${w}" height="${h}" fill="#fff"/>`,
    text(GAP, 22, title, { size: 14, weight: 600 }),
    text(w - GAP, 22, `${yLabel}, over ${xLabel}`, { anchor: 'end' }),
    ...panels.map((panel, i) => {
      const [x, y] = [GAP + (i % across) * (WIDTH + GAP), 36 + Math.floor(i / across) * (HEIGHT + GAP)];
      return `<g transform="translate(${x},${y})">${drawPanel(panel)}</g>`;
    }),
    `<g transform="translate(0,${top})">${legend.svg}</g>`,
    '</svg>',
  ].join('\n')}\n`;
}

const LINE = 20;

/** Labels beside each other as far as they fit, at some seven units a letter. */
function legendOf(panels: readonly Panel[], width: number): { svg: string; lines: number } {
  const labels = new Map(panels.flatMap(({ series }) => series.map(({ label, colour }) => [label, colour] as const)));
  let [x, line] = [GAP, 0];
  const parts = [...labels].map(([label, colour]) => {
    const wide = 40 + 7 * label.length;
    if (x > GAP && x + wide > width) [x, line] = [GAP, line + 1];
    const [at, y] = [x, LINE * line + 8];
    x += wide;
    return `<rect x="${at}" y="${y - 8}" width="14" height="8" rx="2" fill="${colour}"/>${text(at + 19, y, label)}`;
  });
  return { svg: parts.join('\n'), lines: line + 1 };
}

function drawPanel({ title, series, yRange, stacked = false, marks = [] }: Panel): string {
  const layers = stacked ? stack(series) : series;
  const points = layers.flatMap((each) => each.points);
  // bands of few seeds can be wider than anything that happened: the curves decide, and bands are cut
  const values = [...points.map(({ y }) => y), ...marks];
  const extent = (all: readonly number[]): [number, number] =>
    all.length === 0 ? [0, 1] : [Math.min(...all), Math.max(...all)];
  const x = scaleLinear(extent(points.map((p) => p.x)), [LEFT, WIDTH]);
  const y = scaleLinear(yRange ?? extent(values), [HEIGHT - 20, TOP]);
  if (!yRange) y.nice(4);
  y.clamp(true);
  const grid = y.ticks(4).map((tick) => {
    const at = y(tick).toFixed(1);
    return `<line x1="${LEFT}" x2="${WIDTH}" y1="${at}" y2="${at}" stroke="#e4e4e4"/>${text(LEFT - 6, Number(at) + 4, y.tickFormat(4)(tick), { anchor: 'end' })}`;
  });
  const ticks = x.ticks(4).map((tick) => text(x(tick), HEIGHT - 5, String(tick), { anchor: 'middle' }));
  const dashes = marks.map(
    (mark) =>
      `<line x1="${LEFT}" x2="${WIDTH}" y1="${y(mark).toFixed(1)}" y2="${y(mark).toFixed(1)}" stroke="#555" stroke-dasharray="4 3"/>`,
  );
  type Point = Series['points'][number];
  const round = (n: number) => Math.round(n * 10) / 10;
  const ribbon = area<Point>(
    (p) => round(x(p.x)),
    (p) => round(y(p.low ?? p.y)),
    (p) => round(y(p.high ?? p.y)),
  );
  const curve = line<Point>(
    (p) => round(x(p.x)),
    (p) => round(y(p.y)),
  );
  const curves = layers.map(({ colour, points: of }) => {
    const fill = of.some((p) => p.low !== undefined)
      ? `<path d="${ribbon(of as Point[])}" fill="${colour}" fill-opacity="${stacked ? 0.85 : 0.15}"/>`
      : '';
    return stacked
      ? fill
      : `${fill}<path d="${curve(of as Point[])}" fill="none" stroke="${colour}" stroke-width="1.8"/>`;
  });
  return [text(LEFT, 14, title, { weight: 600 }), ...grid, ...curves, ...dashes, ...ticks].join('\n');
}

/** Areas that stand on each other, the first at the bottom. */
function stack(series: readonly Series[]): Series[] {
  const base = new Map<number, number>();
  return series.map((each) => ({
    ...each,
    points: each.points.map(({ x, y }) => {
      const low = base.get(x) ?? 0;
      base.set(x, low + y);
      return { x, y: low + y, low, high: low + y };
    }),
  }));
}

function text(
  x: number,
  y: number,
  content: string,
  { size, weight, anchor }: { size?: number; weight?: number; anchor?: 'middle' | 'end' } = {},
): string {
  const escaped = content.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
  const style = [
    size ? ` font-size="${size}"` : '',
    weight ? ` font-weight="${weight}"` : '',
    anchor ? ` text-anchor="${anchor}"` : '',
  ].join('');
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" fill="#222"${style}>${escaped}</text>`;
}
