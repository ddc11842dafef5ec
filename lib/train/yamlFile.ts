import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { parseDocument } from 'yaml';
import { G2rpoError } from '../runtime/errors.ts';

/**
 * What a YAML file holds; nothing at all is an empty configuration.
 *
 * @param what  what messages call it: the configuration
 * @throws IO  it cannot be read
 * @throws INVALID_CONFIG  it is no YAML, or holds more than can be
 */
export function readYaml(file: string, what: string): unknown {
  const text = textOf(file, what);
  const refused = (problems: string[], cause?: unknown) =>
    new G2rpoError(
      'INVALID_CONFIG',
      problems.map((each) => `${file}: ${each}`).join('\n'),
      { file, problems },
      { cause },
    );
  const first = (message: string) => message.split('\n')[0]!;
  try {
    const document = parseDocument(text);
    if (document.errors.length > 0) throw refused(document.errors.map(({ message }) => first(message)));
    return (document.toJS() as unknown) ?? {};
  } catch (cause) {
    if (cause instanceof G2rpoError) throw cause;
    // aliases that multiply, collections in each other beyond the depth of the stack
    throw refused([`cannot be taken in: ${first((cause as Error).message)}`], cause);
  }
}

function textOf(file: string, what: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(file));
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code === 'ERR_ENCODING_INVALID_ENCODED_DATA')
      throw new G2rpoError('INVALID_CONFIG', `${file}: ${what} must be text in UTF-8; it is not`, { file }, { cause });
    const why = code === 'ENOENT' ? `no such file in ${dirname(resolve(file))}` : message;
    throw new G2rpoError('IO', `${what} ${file}: ${why}`, { file }, { cause });
  }
}
