import { readFile } from 'node:fs/promises';
import { G2rpoError } from '../../runtime/errors.ts';

/**
 * The parsed content of a JSON file of a checkpoint; undefined if it is optional and not there.
 *
 * @throws INVALID_CHECKPOINT  missing, or not JSON
 * @throws IO  the file system refused
 */
export async function readJsonFile(path: string, { optional = false } = {}): Promise<unknown> {
  const text = await readTextFile(path, { optional });
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new G2rpoError('INVALID_CHECKPOINT', `${path}: not JSON: ${(error as Error).message}`, { file: path });
  }
}

/** The text of a file of a checkpoint; undefined if it is optional and not there. Throws as `readJsonFile` does. */
export async function readTextFile(path: string, { optional = false } = {}): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (optional && (error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw readFailure(path, error);
  }
}

/** What a failed read of a file of a checkpoint means. */
export function readFailure(path: string, cause: unknown): G2rpoError {
  const { code, message } = cause as NodeJS.ErrnoException;
  const missing = code === 'ENOENT' || code === 'EISDIR' || code === 'ENOTDIR';
  const text = code === 'ENOENT' ? 'no such file' : message;
  return new G2rpoError(missing ? 'INVALID_CHECKPOINT' : 'IO', `${path}: ${text}`, { file: path }, { cause });
}
