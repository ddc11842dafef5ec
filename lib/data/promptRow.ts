import { statSync } from 'node:fs';
import path from 'node:path';
import { checkFps } from '../model/qwen3vl/sampleFrames.ts';
import { framesOf } from '../model/qwen3vl/videoFrames.ts';
import { G2rpoError, nearestName } from '../runtime/errors.ts';
import { TASK_TYPES, type Prompt, type PromptVideo } from '../types.ts';

export const IMAGE_PLACEHOLDER = '<image>';
export const VIDEO_PLACEHOLDER = '<video>';

/** What the reading of a row has to know. */
export interface RowOptions {
  imageDir: string;
  /** frames per second of videos, for rows that do not say */
  fps: number | undefined;
  /** undefined: every name is fine */
  problemTypes: readonly string[] | undefined;
  /** for rows that name none */
  problemType: string | undefined;
  needsAnswer: boolean;
  checkAnswer: ((problemType: string, answer: string) => string | undefined) | undefined;
}

const OWN_FIELDS = new Set(['problem', 'images', 'videos', 'fps', 'problem_type', 'task_type', 'options', 'answer']);

/**
 * One row as a prompt. Null and NaN in a field that may be missing mean that it is missing.
 *
 * The thrown messages say what is wrong with which field; where the row stands is for the caller to add.
 *
 * @throws INVALID_DATA, INVALID_IMAGE, INVALID_VIDEO
 */
export function promptOf(row: Record<string, unknown>, source: Prompt['source'], options: RowOptions): Prompt {
  const problem = textOf(row, 'problem');
  const images = listOf(row, 'images').map((image) => existing(path.resolve(options.imageDir, image)));
  checkPlaceholders(problem, IMAGE_PLACEHOLDER, 'images', images.length);
  const videos = videosOf(row, options);
  checkPlaceholders(problem, VIDEO_PLACEHOLDER, 'videos', videos.length);
  if (row['data_type'] === 'video' && videos.length === 0) throw bad('data_type is "video", but videos is empty');
  const problemType = problemTypeOf(row, options);
  const answer = answerOf(row, options.needsAnswer);
  const reason = options.needsAnswer ? options.checkAnswer?.(problemType, answer) : undefined;
  if (reason !== undefined) throw bad(`answer: ${reason}`);
  const choices = listOf(row, 'options');
  if (options.needsAnswer && options.checkAnswer) checkChoice(answer, choices);
  return {
    source,
    problem,
    images,
    ...(videos.length > 0 && { videos }),
    problemType,
    taskType: taskTypeOf(row),
    options: choices,
    answer,
    extra: Object.fromEntries(
      Object.entries(row).filter(([field]) => !OWN_FIELDS.has(field) || (field === 'fps' && videos.length === 0)),
    ),
  };
}

/** A letter that answers is that of an option, where all options begin with one. */
function checkChoice(answer: string, choices: readonly string[]): void {
  const letter = /^(?:<answer>)?\s*([A-Z])\s*(?:<\/answer>)?$/.exec(answer.trim())?.[1];
  const letters = choices.map((choice) => /^\s*\(?([A-Z])[.):]/.exec(choice)?.[1]);
  if (letter !== undefined && letters.length > 0 && letters.every(Boolean) && !letters.includes(letter))
    throw bad(`answer must be one of the options ${letters.join(', ')}; got ${JSON.stringify(letter)}`);
}

function checkPlaceholders(problem: string, placeholder: string, field: string, wanted: number): void {
  const found = problem.split(placeholder).length - 1;
  if (found !== wanted)
    throw bad(`problem has ${count(found, `${placeholder} placeholder`)}, ${field} has ${count(wanted, 'path')}`);
}

/** The videos of a row, whose frames are there; whether they are pictures of one size is seen when they are read. */
function videosOf(row: Record<string, unknown>, { imageDir, fps: fallback }: RowOptions): PromptVideo[] {
  const value = isMissing(row['videos']) ? [] : row['videos'];
  if (!Array.isArray(value)) throw bad(`videos must be a list; got ${kindOf(value)}`);
  const rates = isMissing(row['fps']) ? fallback : row['fps'];
  if (Array.isArray(rates) && rates.length !== value.length && value.length > 0)
    throw bad(`fps must be one number, or one per video (${value.length}); got ${rates.length}`);
  return value.map((video: unknown, i): PromptVideo => {
    const fps: unknown = Array.isArray(rates) ? rates[i] : rates;
    if (fps === undefined)
      throw bad(`fps must say how many frames of ${nameOfVideo(video)} make a second; there is neither fps in the row nor data.fps`); // prettier-ignore
    if (typeof video === 'string') {
      const frames = path.resolve(imageDir, video);
      framesOf(frames);
      checkFps(fps, frames);
      return { frames, fps };
    }
    if (!Array.isArray(video) || !video.every((file) => typeof file === 'string'))
      throw bad(`videos[${i}] must be a folder of frames or a list of files; got ${kindOf(video)}`);
    const frames = video.map((file) => existing(path.resolve(imageDir, file)));
    checkFps(fps, framesOf(frames).name);
    return { frames, fps };
  });
}

const nameOfVideo = (video: unknown): string => (typeof video === 'string' ? video : 'a video');

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
