import { readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { describe, G2rpoError, refuse, wantList, wantObject, type ErrorCode } from '../runtime/errors.ts';
import { PROBLEM_TYPES, type Prompt } from '../types.ts';
import { parseJson, readRows, type RawRow } from './jsonRows.ts';
import { bad, isMissing, kindOf, optionalText, promptOf, type RowOptions } from './promptRow.ts';

export interface DatasetOptions {
  /** where paths of images and videos start; default the folder of the file */
  imageDir?: string;
  /** frames per second of videos, for rows that do not say */
  fps?: number;
  /** 'error' (default) refuses the dataset and names its bad rows; 'skip' leaves them out and reports them */
  onBadRow?: 'error' | 'skip';
  /** the names a row may use, in any case; default those with a reward of ours. 'any' is for rewards of your own */
  problemTypes?: readonly string[] | 'any';
  /** for rows that name no problem type */
  problemType?: string;
  /** why a ground truth cannot be scored, or undefined if it can, e.g. `checkAnswer` of the rewards */
  checkAnswer?: (problemType: string, answer: string) => string | undefined;
}

/** A row that was left out. */
export interface SkippedRow {
  file: string;
  line: number;
  row: number;
  /** the whole message, with file, line and row */
  reason: string;
}

export interface Dataset<P extends Prompt = Prompt> {
  prompts: P[];
  /** empty unless `onBadRow` is 'skip' */
  skipped: SkippedRow[];
}

/** A prompt with a response to learn from, as one text or in labelled pieces. At least one of the two is there. */
export interface Demonstration extends Prompt {
  demonstration?: string;
  labels?: (string | null)[];
}

const SHOWN_PROBLEMS = 10;

/**
 * The prompts of one or more files, in the order of files and rows.
 *
 * A file is a JSON list or has one JSON object per line; a folder stands for all .json and .jsonl files in it, by name.
 * NaN and Infinity may appear as Python writes them. Unknown fields end up in `extra`.
 *
 * @throws INVALID_DATA  rows that do not say what the format wants: up to ten are named, the rest counted
 * @throws INVALID_IMAGE, INVALID_VIDEO  only images are missing, or only frames
 * @throws NO_PROMPTS  nothing is left
 * @throws IO  a file or folder cannot be read
 */
export function loadDataset(paths: string | readonly string[], options: DatasetOptions = {}): Dataset {
  return load(paths, options, true, (row, source, rowOptions) => promptOf(row, source, rowOptions));
}

/**
 * The same for supervised rows, which have `demonstration` (a string) or `labels` (a list of strings and nulls) or
 * both. Their answer may be missing and is then ''.
 *
 * @throws INVALID_DATA, INVALID_IMAGE, INVALID_VIDEO, NO_PROMPTS, IO  as `loadDataset`
 */
export function loadDemonstrations(
  paths: string | readonly string[],
  options: DatasetOptions = {},
): Dataset<Demonstration> {
  return load<Demonstration>(paths, options, false, (row, source, rowOptions) => {
    const demonstration = optionalText(row, 'demonstration');
    const labels = labelsOf(row['labels']);
    if (demonstration === undefined && labels === undefined)
      throw bad('a supervised row needs demonstration or labels; got neither');
    const rest = { ...row };
    delete rest['demonstration'];
    delete rest['labels'];
    return {
      ...promptOf(rest, source, rowOptions),
      ...(demonstration === undefined ? {} : { demonstration }),
      ...(labels === undefined ? {} : { labels }),
    };
  });
}

function load<P extends Prompt>(
  paths: string | readonly string[],
  options: DatasetOptions,
  needsAnswer: boolean,
  read: (row: Record<string, unknown>, source: Prompt['source'], options: RowOptions) => P,
): Dataset<P> {
  wantObject('dataset', 'options', options);
  const { problemTypes = PROBLEM_TYPES } = options;
  if (problemTypes !== 'any') wantList('dataset', 'problemTypes', problemTypes);
  const names = typeof paths === 'string' ? [paths] : paths;
  wantList('dataset', 'paths', names);
  names.forEach((name, i) => {
    if (typeof name !== 'string') refuse('dataset', `paths[${i}]`, 'must be a path', describe(name));
  });
  const dataset: Dataset<P> = { prompts: [], skipped: [] };
  const codes = new Set<ErrorCode>();
  for (const file of names.flatMap(filesAt)) {
    const rowOptions: RowOptions = {
      imageDir: path.resolve(options.imageDir ?? path.dirname(file)),
      fps: options.fps,
      problemTypes: problemTypes === 'any' ? undefined : problemTypes,
      problemType: options.problemType,
      needsAnswer,
      checkAnswer: options.checkAnswer,
    };
    for (const raw of readRows(file)) {
      try {
        dataset.prompts.push(read(objectOf(raw), { file, row: raw.row }, rowOptions));
      } catch (error) {
        if (!(error instanceof G2rpoError)) throw error;
        codes.add(error.code);
        const { line, row, index } = raw;
        const place = `${file}:${line} (row ${row}${index === undefined ? '' : `, index ${index}`})`;
        dataset.skipped.push({ file, line, row, reason: `${place}: ${error.message}` });
      }
    }
  }
  if (options.onBadRow !== 'skip' && dataset.skipped.length > 0) refuseRows(dataset.skipped, codes);
  if (dataset.prompts.length === 0) {
    const reasons = shownReasons(dataset.skipped).map((reason) => `\n  ${reason}`);
    const skipped = reasons.length > 0 ? `; ${dataset.skipped.length} were skipped:${reasons.join('')}` : '';
    throw new G2rpoError('NO_PROMPTS', `${names.join(', ')}: a dataset needs at least one row; got none${skipped}`, {
      skipped: dataset.skipped,
    });
  }
  return dataset;
}

function shownReasons(rows: SkippedRow[]): string[] {
  const shown = rows.slice(0, SHOWN_PROBLEMS).map(({ reason }) => reason);
  return rows.length > shown.length ? [...shown, `… and ${rows.length - shown.length} more`] : shown;
}

function refuseRows(rows: SkippedRow[], codes: Set<ErrorCode>): never {
  const shown = shownReasons(rows);
  const [code = 'INVALID_DATA', ...others] = codes;
  throw new G2rpoError(others.length > 0 ? 'INVALID_DATA' : code, shown.join('\n'), { rows });
}

function objectOf({ text }: RawRow): Record<string, unknown> {
  let value: unknown;
  try {
    value = parseJson(text);
  } catch (error) {
    throw bad(`a row must be JSON: ${(error as Error).message}`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw bad(`a row must be an object; got ${kindOf(value)}`);
  return value as Record<string, unknown>;
}

function labelsOf(value: unknown): (string | null)[] | undefined {
  if (isMissing(value)) return undefined;
  if (!Array.isArray(value)) throw bad(`labels must be a list of strings and nulls; got ${kindOf(value)}`);
  value.forEach((label, i) => {
    if (typeof label !== 'string' && label !== null)
      throw bad(`labels[${i}] must be a string or null; got ${kindOf(label)}`);
  });
  return value as (string | null)[];
}

function filesAt(name: string): string[] {
  const stat = statSync(name, { throwIfNoEntry: false });
  if (!stat) throw new G2rpoError('IO', `${name}: no such file or folder`, { file: name });
  if (stat.isDirectory()) {
    const files = readdirSync(name)
      .filter((file) => /\.jsonl?$/.test(file) && file !== 'gallery.json') // how a gallery was drawn
      .sort();
    if (files.length === 0) throw new G2rpoError('NO_PROMPTS', `${name}: the folder has no .json or .jsonl file`);
    return files.map((file) => path.join(name, file));
  }
  if (/\.jsonl?$/.test(name)) return [name];
  throw new G2rpoError('INVALID_DATA', `${name}: a dataset must be a .json or .jsonl file or a folder of them`, {
    file: name,
  });
}
