import { parseJson } from '../data/jsonRows.ts';
import { G2rpoError } from '../runtime/errors.ts';

/** Rollouts in columns, as they were read from JSON lines. */
export interface RolloutRows {
  /** the lines as they came, blank ones left out */
  texts: string[];
  /** 1-based */
  lines: number[];
  rewards: number[];
  groups: (string | number)[];
  tasks?: (string | number)[];
  lengths?: number[];
  components?: Record<string, number[]>;
  greedyRewards?: number[];
}

/** Fields of a row that every row must have if one has them, and what they must be. */
const COLUMNS = {
  reward: { key: 'rewards', wanted: 'a number', is: isNumber },
  group: { key: 'groups', wanted: 'text or a number', is: isLabel },
  task: { key: 'tasks', wanted: 'text or a number', is: isLabel },
  length: { key: 'lengths', wanted: 'a whole number of tokens', is: isCount },
  greedy_reward: { key: 'greedyRewards', wanted: 'a number', is: isNumber },
} as const;
const NEEDED = ['reward', 'group'];

/**
 * Rows of a text in pieces, one JSON object per line.
 *
 * @param source  what messages call it
 * @throws INVALID_DATA  naming the line and the field; there is no row
 * @throws IO  it cannot be read
 */
export async function readRollouts(chunks: AsyncIterable<Uint8Array | string>, source: string): Promise<RolloutRows> {
  const rows: RolloutRows = { texts: [], lines: [], rewards: [], groups: [] };
  const decoder = new TextDecoder();
  let [rest, line] = ['', 0];
  const take = (text: string): void => {
    line++;
    const trimmed = text.trim();
    if (trimmed !== '') addRow(rows, trimmed, line, source);
  };
  try {
    for await (const chunk of chunks) {
      const parts = (rest + (typeof chunk === 'string' ? chunk : decoder.decode(chunk, { stream: true }))).split('\n');
      rest = parts.pop()!;
      parts.forEach(take);
    }
  } catch (cause) {
    if (cause instanceof G2rpoError) throw cause;
    throw new G2rpoError('IO', `${source}: ${(cause as Error).message}`, { source }, { cause });
  }
  take(rest + decoder.decode());
  if (rows.texts.length === 0) {
    const wanted = 'rows like {"reward": 1, "group": "a"}, one a line,';
    throw new G2rpoError('INVALID_DATA', `${source}: ${wanted} were wanted; got none`, { source, wanted, got: 'none' });
  }
  return rows;
}

function addRow(rows: RolloutRows, text: string, line: number, source: string): void {
  const row = parsed(text, line, source);
  const at = rows.texts.length;
  for (const [field, { key, wanted, is }] of Object.entries(COLUMNS)) {
    const value = row[field];
    const column = rows[key] as unknown[] | undefined;
    if (value === undefined) {
      if (NEEDED.includes(field)) throw bad(source, line, field, wanted, 'none');
      if (column) throw bad(source, line, field, `${wanted}, as in the rows before`, 'none');
      continue;
    }
    if (!is(value)) throw bad(source, line, field, wanted, said(value));
    if (column) column.push(value);
    else if (at === 0) rows[key] = [value] as never;
    else throw bad(source, line, field, 'absent, as in the rows before', said(value));
  }
  addComponents(rows, row['components'], line, source);
  rows.texts.push(text);
  rows.lines.push(line);
}

function addComponents(rows: RolloutRows, given: unknown, line: number, source: string): void {
  if (given === undefined && !rows.components) return;
  if (typeof given !== 'object' || given === null || Array.isArray(given))
    throw bad(source, line, 'components', 'an object of numbers', said(given));
  if (rows.texts.length === 0) rows.components = Object.fromEntries(Object.keys(given).map((name) => [name, []]));
  const names = Object.keys(rows.components ?? {});
  const surplus = Object.keys(given).find((name) => !names.includes(name));
  if (surplus !== undefined)
    throw bad(source, line, `components.${surplus}`, 'absent, as in the rows before', said(given[surplus as never]));
  for (const name of names) {
    const value: unknown = given[name as never];
    if (!isNumber(value)) throw bad(source, line, `components.${name}`, 'a number', said(value));
    rows.components![name]!.push(value);
  }
}

function parsed(text: string, line: number, source: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = parseJson(text);
  } catch (error) {
    throw new G2rpoError('INVALID_DATA', `${source}:${line}: not JSON: ${(error as Error).message}`, { line });
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new G2rpoError('INVALID_DATA', `${source}:${line}: must be an object; got ${text.slice(0, 40)}`, { line });
}

const bad = (source: string, line: number, field: string, wanted: string, got: string): G2rpoError =>
  new G2rpoError('INVALID_DATA', `${source}:${line}: ${field} must be ${wanted}; got ${got}`, {
    line,
    field,
    wanted,
    got,
  });

/** A value as it would stand in a row. */
const said = (value: unknown): string =>
  typeof value === 'number' ? String(value) : (JSON.stringify(value) ?? 'none');

function isNumber(value: unknown): value is number {
  return typeof value === 'number' && !Number.isNaN(value);
}
function isLabel(value: unknown): boolean {
  return typeof value === 'string' || isNumber(value);
}
function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

/** A row of JSON with a field more, everything else as it was written. */
export function withField(text: string, field: string, value: string): string {
  const quoted = `"${field}"`;
  if (!text.includes(quoted)) return `${text.slice(0, text.lastIndexOf('}')).trimEnd()},${quoted}:${value}}`;
  // it may be there already, and then it is replaced
  const others = Object.entries(parseJson(text) as Record<string, unknown>).filter(([key]) => key !== field);
  return `${JSON.stringify(Object.fromEntries(others)).slice(0, -1)},${quoted}:${value}}`;
}
