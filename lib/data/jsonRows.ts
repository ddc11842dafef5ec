import { closeSync, openSync, readSync } from 'node:fs';
import { G2rpoError } from '../runtime/errors.ts';

/** The text of one record of a file, still to be parsed. */
export interface RawRow {
  text: string;
  /** 1-based line where the record starts */
  line: number;
  /** 1-based, blank lines not counted */
  row: number;
  /** position in a JSON list; undefined in a file of lines */
  index: number | undefined;
}

const CHUNK_BYTES = 1 << 20;
const MAX_ROW_BYTES = 1 << 28; // a string holds at most 2^29 characters; nobody writes a row of half of that
const [NEWLINE, QUOTE, BACKSLASH, COMMA, OPEN, CLOSE] = [10, 34, 92, 44, 91, 93];

/**
 * The records of a JSON list or of a file with one JSON value per line, told apart by the first character.
 *
 * The file is read in pieces and never held as a whole, so it may be larger than the longest string.
 *
 * @throws IO  the file cannot be read
 * @throws INVALID_DATA  a list that does not end, something behind its end, or a row of more than 256 MiB
 */
export function* readRows(file: string): Generator<RawRow> {
  const bytes = new ByteReader(file);
  try {
    if (bytes.peek() === 0xef && bytes.next() === 0xef && bytes.next() === 0xbb) bytes.next(); // a byte order mark
    while (isSpace(bytes.peek())) bytes.next();
    if (bytes.peek() === OPEN) yield* listRows(bytes, file);
    else yield* lineRows(bytes, file);
  } finally {
    bytes.close();
  }
}

function* lineRows(bytes: ByteReader, file: string): Generator<RawRow> {
  let row = 0;
  while (bytes.peek() >= 0) {
    const line = bytes.line;
    bytes.mark();
    bytes.skipToNewline();
    const text = bytes.marked(file, line).trim();
    bytes.next();
    if (text !== '') yield { text, line, row: ++row, index: undefined };
  }
}

/** Finds where elements end by counting brackets outside strings; whether an element is JSON is for the parser to say. */
function* listRows(bytes: ByteReader, file: string): Generator<RawRow> {
  bytes.next();
  let row = 0;
  for (let ended = false; !ended;) {
    while (isSpace(bytes.peek())) bytes.next();
    const line = bytes.line;
    bytes.mark();
    let depth = 0;
    for (; ; bytes.next()) {
      const byte = bytes.peek();
      if (byte < 0)
        throw new G2rpoError(
          'INVALID_DATA',
          `${file}:${line} (row ${row + 1}): the file ends inside this row or before the list is closed`,
          { file, line, row: row + 1 },
        );
      if (byte === QUOTE) skipString(bytes);
      else if (byte === OPEN || byte === 123) depth++;
      else if (depth > 0 && (byte === CLOSE || byte === 125)) depth--;
      else if (depth === 0 && (byte === COMMA || byte === CLOSE)) break;
    }
    const text = bytes.marked(file, line).trim();
    ended = bytes.next() === CLOSE;
    if (text === '' && ended && row === 0) break;
    yield { text, line, row: ++row, index: row - 1 };
  }
  while (isSpace(bytes.peek())) bytes.next();
  if (bytes.peek() >= 0)
    throw new G2rpoError('INVALID_DATA', `${file}:${bytes.line}: nothing may follow the end of the list`, {
      file,
      line: bytes.line,
    });
}

/** Leaves the reader on the closing quote. */
function skipString(bytes: ByteReader): void {
  for (bytes.next(); bytes.peek() >= 0 && bytes.peek() !== QUOTE; bytes.next())
    if (bytes.peek() === BACKSLASH) bytes.next();
}

function isSpace(byte: number): boolean {
  return byte === 32 || (byte >= 9 && byte <= 13);
}

/** A file as a stream of bytes that remembers the bytes since a mark. */
class ByteReader {
  line = 1;
  private readonly descriptor: number;
  private chunk = Buffer.alloc(0);
  private at = 0;
  private start = 0;
  private kept: Buffer[] = [];
  private keptBytes = 0;

  constructor(file: string) {
    try {
      this.descriptor = openSync(file, 'r');
    } catch (error) {
      throw new G2rpoError('IO', `${file}: cannot be read: ${(error as Error).message}`, { file }, { cause: error });
    }
  }

  /** The next byte, or −1 at the end. */
  peek(): number {
    if (this.at === this.chunk.length) this.refill();
    return this.at < this.chunk.length ? this.chunk[this.at]! : -1;
  }

  /** The next byte, which is passed. */
  next(): number {
    const byte = this.peek();
    if (byte === NEWLINE) this.line++;
    if (byte >= 0) this.at++;
    return byte;
  }

  skipToNewline(): void {
    while (this.peek() >= 0) {
      const found = this.chunk.indexOf(NEWLINE, this.at);
      this.at = found < 0 ? this.chunk.length : found;
      if (found >= 0) return;
    }
  }

  mark(): void {
    this.peek();
    this.kept = [];
    this.keptBytes = 0;
    this.start = this.at;
  }

  /** The text since the mark. */
  marked(file: string, line: number): string {
    const bytes = this.keptBytes + this.at - this.start;
    if (bytes > MAX_ROW_BYTES)
      throw new G2rpoError('INVALID_DATA', `${file}:${line}: a row may have at most 256 MiB; got ${bytes} bytes`, {
        file,
        line,
      });
    return Buffer.concat([...this.kept, this.chunk.subarray(this.start, this.at)]).toString('utf8');
  }

  close(): void {
    closeSync(this.descriptor);
  }

  private refill(): void {
    // beyond the limit only the size is still of interest
    if (this.keptBytes <= MAX_ROW_BYTES) this.kept.push(this.chunk.subarray(this.start));
    this.keptBytes += this.chunk.length - this.start;
    const next = Buffer.allocUnsafe(CHUNK_BYTES);
    this.chunk = next.subarray(0, readSync(this.descriptor, next, 0, CHUNK_BYTES, null));
    this.at = this.start = 0;
  }
}

/**
 * A JSON value in which NaN, Infinity and −Infinity may stand for numbers, as Python writes them.
 *
 * @throws SyntaxError  it is not one
 */
export function parseJson(text: string): unknown {
  if (!/NaN|Infinity/.test(text)) return JSON.parse(text);
  const mark = '\u0000number:'; // no JSON text holds a bare NUL, and one written as an escape is not followed by this
  const marked = text.replace(/"(?:[^"\\]|\\.)*"|-?\b(?:NaN|Infinity)\b/gs, (found) =>
    found.startsWith('"') ? found : JSON.stringify(mark + found),
  );
  return JSON.parse(marked, (_, value: unknown) =>
    typeof value === 'string' && value.startsWith(mark) ? Number(value.slice(mark.length)) : value,
  );
}
