import { GLYPH_HEIGHT, GLYPHS, PEN } from './glyphs.ts';
import { hex } from './palette.ts';
import { boundsOf, CHART_BASE, CHART_UNIT, FRAME, type Mark, type Scene } from './scene.ts';

/** The SVG elements of a scene, in a frame of `FRAME` × `FRAME`. */
export function drawScene(scene: Scene): string {
  const ground = `<rect width="${FRAME}" height="${FRAME}" fill="${scene.ground}"/>`;
  return ground + (scene.task === 'chart' ? chartPaper() : '') + scene.marks.map(drawMark).join('');
}

function drawMark(mark: Mark): string {
  const colour = hex(mark.colour, mark.shade);
  const [left, top, right, bottom] = boundsOf(mark);
  if (mark.type === 'glyph') {
    const pen = `fill="none" stroke="${colour}" stroke-width="${PEN}" stroke-linecap="round" stroke-linejoin="round"`;
    const place = `translate(${mark.x} ${mark.y}) scale(${mark.height / GLYPH_HEIGHT})`;
    return `<path d="${GLYPHS[mark.char]!}" transform="${place}" ${pen}/>`;
  }
  if (mark.type === 'shape' && mark.kind === 'circle')
    return `<circle cx="${mark.x}" cy="${mark.y}" r="${mark.r}" fill="${colour}"/>`;
  if (mark.type === 'shape' && mark.kind === 'triangle')
    return `<path d="M${mark.x} ${top}L${right} ${bottom}H${left}Z" fill="${colour}"/>`;
  return `<rect x="${left}" y="${top}" width="${right - left}" height="${bottom - top}" fill="${colour}"/>`;
}

/** Faint lines at 25, 50 and 75, and the base line. */
function chartPaper(): string {
  const lines = [25, 50, 75].map((value) => CHART_BASE - value * CHART_UNIT);
  const faint = lines.map((y) => `<rect x="0" y="${y - 0.5}" width="${FRAME}" height="1" fill="#d8d8dc"/>`).join('');
  return `${faint}<rect x="0" y="${CHART_BASE}" width="${FRAME}" height="1.5" fill="#50505a"/>`;
}
