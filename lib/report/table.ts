import { displayWidth, plainLine, type Paint } from './displayText.ts';

export interface TableOptions {
  /** columns that stand at the right, by index; default all but the first */
  right?: (column: number) => boolean;
  paint?: Paint;
  /** how a cell is painted; it is padded first */
  style?: (row: number, column: number) => Parameters<Paint>[0] | undefined;
}

/** Rows in aligned columns, the first row being the heading. Cells are put on one line each; trailing blanks are left out. */
export function formatTable(rows: readonly (readonly string[])[], options: TableOptions = {}): string {
  const { right = (column) => column > 0, paint, style } = options;
  const cells = rows.map((row) => row.map(plainLine));
  const columns = Math.max(0, ...cells.map((row) => row.length));
  const widths = Array.from({ length: columns }, (_, c) => Math.max(...cells.map((row) => displayWidth(row[c] ?? ''))));
  const pad = (cell: string, r: number, c: number): string => {
    const blanks = ' '.repeat(widths[c]! - displayWidth(cell));
    const chosen = r === 0 ? 'bold' : style?.(r, c);
    const painted = paint && chosen && cell !== '' ? paint(chosen, cell) : cell;
    return right(c) ? blanks + painted : painted + blanks;
  };
  return cells
    .map((row, r) =>
      row
        .map((cell, c) => pad(cell, r, c))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** A share as percent with one decimal; "–" for none. */
export const percent = (share: number | undefined): string =>
  share === undefined || Number.isNaN(share) ? '–' : (100 * share).toFixed(1);

/** A change in percentage points, with its sign. */
export function points(change: number | undefined): string {
  if (change === undefined || Number.isNaN(change)) return '–';
  const text = (100 * change).toFixed(1);
  return /^-?0\.0$/.test(text) ? '0.0' : change > 0 ? `+${text}` : text.replace('-', '−');
}

/** A duration as 0.8 s, 42 s, 3:07 or 2:03:07. */
export function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return '–';
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const two = (n: number) => String(n).padStart(2, '0');
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours > 0 ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}
