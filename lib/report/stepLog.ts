import { mkdir, open, readFile, rename, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { G2rpoError } from '../runtime/errors.ts';

/** One line of a log. Numbers that are not finite are written as "NaN", "Infinity" and "-Infinity", which JSON lacks. */
export interface LogRow {
  /** the optimizer updates that were done */
  step: number;
  [name: string]: unknown;
}

/** Rows by step, one JSON object per line. Nothing that was written is erased. */
export interface StepLog {
  /**
   * Adds a row; when the promise is fulfilled it has reached the disk. Rows reach it in the order of the calls.
   *
   * @throws INVALID_ARGUMENT  the step is no whole number, or behind that of the row before
   * @throws IO  the file system refused; what is half written is taken back
   */
  append(row: LogRow): Promise<void>;
  close(): Promise<void>;
}

/**
 * Opens `<name>.jsonl` in a folder, which is made if it is not there, to go on behind a step.
 *
 * Rows of later steps move to `<name>.replaced.jsonl`: the run is about to write them anew. What a killed process has left
 * half written moves there too, as `{"unreadable": "…"}`. A power cut at any moment loses no row and doubles none in
 * `<name>.jsonl`.
 *
 * @param afterStep  rows up to here stay, or up to what it says of a row; −1 keeps none
 * @param onKept     is shown every row that stays, in order
 * @throws IO  the file system refused
 */
export async function openStepLog(
  dir: string,
  name: string,
  afterStep: number | ((row: LogRow) => number),
  onKept: (row: LogRow) => void = () => undefined,
): Promise<StepLog> {
  const path = join(dir, `${name}.jsonl`);
  try {
    await mkdir(dir, { recursive: true });
    const text = await textOf(path);
    const lastOf = typeof afterStep === 'number' ? () => afterStep : afterStep;
    const { keep, move, last } = sort(text, lastOf, onKept);
    if (keep !== text) {
      const replaced = join(dir, `${name}.replaced.jsonl`);
      // after a power cut between the two steps below, the same rows come to be moved again
      if (!(await textOf(replaced)).endsWith(move)) await writeDurably(replaced, move, 'a');
      await writeDurably(`${path}.new`, keep, 'w');
      await rename(`${path}.new`, path);
    }
    const file = await open(path, 'a');
    await sync(dir);
    return appendTo(file, path, last);
  } catch (error) {
    throw refused(path, error);
  }
}

/** The text to keep and the text to move, both of whole lines, and the last step that stays. */
function sort(text: string, lastOf: (row: LogRow) => number, onKept: (row: LogRow) => void) {
  let [keep, move, last] = ['', '', -1];
  for (const line of text.split('\n')) {
    if (line === '') continue;
    const row = rowOf(line);
    if (row && row.step <= lastOf(row)) {
      keep += `${line}\n`;
      last = row.step;
      onKept(row);
    } else move += row ? `${line}\n` : `${JSON.stringify({ unreadable: line })}\n`;
  }
  return { keep, move, last };
}

function rowOf(line: string): LogRow | undefined {
  try {
    const row = JSON.parse(line) as LogRow | null;
    return Number.isSafeInteger(row?.step) ? row! : undefined;
  } catch {
    return undefined;
  }
}

function appendTo(file: FileHandle, path: string, lastStep: number): StepLog {
  let last = lastStep;
  let done = Promise.resolve();
  const write = async (line: string): Promise<void> => {
    const { size } = await file.stat();
    try {
      await file.appendFile(line);
      await file.datasync();
    } catch (error) {
      await file.truncate(size).catch(() => undefined); // a line that stays torn is set aside by the next opening
      throw refused(path, error);
    }
  };
  return {
    append(row) {
      if (!Number.isSafeInteger(row.step) || row.step < last)
        throw new G2rpoError('INVALID_ARGUMENT', `${path}: step must be a whole number from ${last}; got ${row.step}`);
      last = row.step;
      const line = `${JSON.stringify(row, spellOut)}\n`;
      const written = done.then(() => write(line));
      done = written.catch(() => undefined);
      return written;
    },
    async close() {
      await done;
      await file.close();
    },
  };
}

const spellOut = (_key: string, value: unknown): unknown =>
  typeof value === 'number' && !Number.isFinite(value) ? String(value) : value;

async function textOf(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw error;
  }
}

async function writeDurably(path: string, text: string, flag: 'a' | 'w'): Promise<void> {
  const file = await open(path, flag);
  try {
    await file.appendFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Makes the names in a folder last. */
async function sync(dir: string): Promise<void> {
  const folder = await open(dir, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

function refused(path: string, error: unknown): unknown {
  if (!(error instanceof Error) || !('syscall' in error)) return error;
  return new G2rpoError('IO', `cannot write ${path}: ${error.message}`, { path }, { cause: error });
}
