import { statSync } from 'node:fs';
import path from 'node:path';
import { G2rpoError, nearestName } from '../runtime/errors.ts';
import { TASK_TYPES, type Prompt } from '../types.ts';

export const IMAGE_PLACEHOLDER = '<image>';

/** What the reading of a row has to know. */
export interface RowOptions {
  imageDir: string;
  /** undefined: every name is fine */
  problemTypes: readonly string[] | undefined;
  /** for rows that name none */
  problemType: string | undefined;
  needsAnswer: boolean;
  checkAnswer: ((problemType: string, answer: string) => string | undefined) | undefined;
}

const OWN_FIELDS = new Set(['problem', 'images', 'videos', 'problem_type', 'task_type', 'options', 'answer']);

/**
 * One row as a prompt. Null and NaN in a field that may be missing mean that it is missing.
 *
 * The thrown messages say what is wrong with which field; where the row stands is for the caller to add.
 *
 * @throws INVALID_DATA, INVALID_IMAGE
 */
export function promptOf(row: Record<string, unknown>, source: Prompt['source'], options: RowOptions): Prompt {
  const problem = textOf(row, 'problem');
  if (row['data_type'] === 'video' || listOf(row, 'videos').length > 0 || problem.includes('<video>'))
    throw bad('video rows are not supported yet');
  const images = listOf(row, 'images').map((image) => existing(path.resolve(options.imageDir, image)));
  const placeholders = problem.split(IMAGE_PLACEHOLDER).length - 1;
  if (placeholders !== images.length)
    throw bad(
      `problem has ${count(placeholders, `${IMAGE_PLACEHOLDER} placeholder`)}, images has ${count(images.length, 'path')}`,
    );
  const problemType = problemTypeOf(row, options);
  const answer = answerOf(row, options.needsAnswer);
  const reason = options.needsAnswer ? options.checkAnswer?.(problemType, answer) : undefined;
  if (reason !== undefined) throw bad(`answer: ${reason}`);
  return {
    source,
    problem,
    images,
    problemType,
    taskType: taskTypeOf(row),
    options: listOf(row, 'options'),
    answer,
    extra: Object.fromEntries(Object.entries(row).filter(([field]) => !OWN_FIELDS.has(field))),
  };
}

/** A field that may be missing, as text. */
export function optionalText(row: Record<string, unknown>, field: string): string | undefined {
  const value = row[field];
  if (isMissing(value)) return undefined;
  if (typeof value !== 'string') throw bad(`${field} must be a string; got ${kindOf(value)}`);
  return value;
}

export function bad(message: string): G2rpoError {
  return new G2rpoError('INVALID_DATA', message);
}

/** What went wrong with a prompt, with the row it comes from in front; errors of others as they are. */
export function ofRow(error: unknown, { file, row }: Prompt['source']): unknown {
  if (!(error instanceof G2rpoError)) return error;
  return new G2rpoError(
    error.code,
    `${file} row ${row}: ${error.message}`,
    { ...error.details, file, row },
    { cause: error },
  );
}

export function isMissing(value: unknown): boolean {
  return value === undefined || value === null || Number.isNaN(value);
}

export function kindOf(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (value === null || typeof value === 'number') return String(value);
  return Array.isArray(value) ? 'a list' : typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}

function textOf(row: Record<string, unknown>, field: string): string {
  const value = row[field];
  if (typeof value !== 'string' || value.trim() === '')
    throw bad(`${field} must be a non-empty string; got ${value === '' ? 'an empty one' : kindOf(value)}`);
  return value;
}

function listOf(row: Record<string, unknown>, field: string): string[] {
  const value = row[field];
  if (isMissing(value)) return [];
  if (!Array.isArray(value)) throw bad(`${field} must be a list of strings; got ${kindOf(value)}`);
  value.forEach((item, i) => {
    if (typeof item !== 'string') throw bad(`${field}[${i}] must be a string; got ${kindOf(item)}`);
  });
  return value as string[];
}

function existing(image: string): string {
  const stat = statSync(image, { throwIfNoEntry: false });
  if (!stat?.isFile()) throw new G2rpoError('INVALID_IMAGE', `no such image: ${image}`, { image });
  return image;
}

function problemTypeOf(row: Record<string, unknown>, { problemTypes, problemType }: RowOptions): string {
  const name = optionalText(row, 'problem_type') ?? problemType;
  if (name === undefined) throw bad('problem_type must be a string; got nothing');
  if (problemTypes === undefined) return name;
  const known = problemTypes.find((type) => type.toLowerCase() === name.trim().toLowerCase());
  if (known !== undefined) return known;
  const near = nearestName(name, problemTypes);
  throw bad(
    `problem_type must be one of ${problemTypes.join(', ')}; got ${JSON.stringify(name)}` +
      (near === undefined ? '' : `, did you mean ${JSON.stringify(near)}?`),
  );
}

function taskTypeOf(row: Record<string, unknown>): string {
  const name = optionalText(row, 'task_type')?.trim().toLowerCase();
  return TASK_TYPES.find((type) => type === name) ?? 'other';
}

/** The ground truth without its tag; a number or a boolean is taken as it would be written. */
function answerOf(row: Record<string, unknown>, isNeeded: boolean): string {
  const value = row['answer'];
  if (isMissing(value) && !isNeeded) return '';
  if ((typeof value === 'number' && Number.isFinite(value)) || typeof value === 'boolean') return String(value);
  if (typeof value !== 'string') throw bad(`answer must be a string or a number; got ${kindOf(value)}`);
  const inside = /^\s*<answer>(.*)<\/answer>\s*$/s.exec(value)?.[1];
  return (inside ?? value).trim();
}

function count(n: number, noun: string): string {
  return `${n} ${noun}${n === 1 ? '' : 's'}`;
}
