import type { FileHandle } from 'node:fs/promises';
import { G2rpoError } from '../../runtime/errors.ts';
import { describe, isCount, isObject } from './configReader.ts';
import { elementCount } from './tensorNames.ts';
import { ELEMENT_BYTES, type StoredDtype } from './weightFormat.ts';

/** Where one tensor lies in a file. */
export interface TensorEntry<D = StoredDtype> {
  shape: number[];
  dtype: D;
  /** absolute offset of its first byte */
  offset: number;
  bytes: number;
}

/** A header longer than this is garbage: the largest release needs a thousandth of it. */
const MAX_HEADER_BYTES = 100 * 2 ** 20;

/**
 * The tensors of an open safetensors file, by name. Only the header is read.
 *
 * Names must be unique and their data must fill the rest of the file exactly, without gaps or overlaps.
 *
 * @param file named in messages
 * @param others element types besides those of weights, with their bytes
 * @throws INVALID_CHECKPOINT  anything else, naming file and tensor
 */
export async function readTensorEntries<D extends string = never>(
  handle: FileHandle,
  file: string,
  others: Partial<Record<D, number>> = {},
): Promise<Map<string, TensorEntry<StoredDtype | D>>> {
  const { size } = await handle.stat();
  const refuse = (message: string, tensor?: string): never => {
    const where = tensor === undefined ? file : `${file}: ${tensor}`;
    throw new G2rpoError('INVALID_CHECKPOINT', `${where}: ${message}`, {
      file,
      ...(tensor !== undefined && { tensor }),
    });
  };
  if (size < 8) refuse(`must begin with an 8-byte header length; the file has ${size} bytes`);
  const length = Number((await readAt(handle, 0, 8, file)).readBigUInt64LE());
  if (length > size - 8)
    refuse(`header length is ${length}, but only ${size - 8} bytes follow; truncated or no safetensors`);
  if (length > MAX_HEADER_BYTES) refuse(`header length is ${length}; at most ${MAX_HEADER_BYTES} is sensible`);
  const text = (await readAt(handle, 8, length, file)).toString('utf8');
  const header = parseHeader(text, refuse);
  const entries = new Map<string, TensorEntry<StoredDtype | D>>();
  const widths = new Map<unknown, number>(Object.entries({ ...ELEMENT_BYTES, ...others }));
  for (const [name, value] of Object.entries(header)) {
    if (name === '__metadata__') continue;
    entries.set(
      name,
      readEntry(value, 8 + length, widths, (message) => refuse(message, name)),
    );
  }
  checkLayout(entries, 8 + length, size, refuse);
  return entries;
}

type Refuse = (message: string, tensor?: string) => never;

function parseHeader(text: string, refuse: Refuse): Record<string, unknown> {
  let header: unknown;
  try {
    header = JSON.parse(text);
  } catch (error) {
    refuse(`header is not JSON: ${(error as Error).message}`);
  }
  if (!isObject(header)) return refuse(`header must be a JSON object; got ${describe(header)}`);
  const seen = new Set<string>();
  for (const key of topLevelKeys(text)) {
    if (seen.has(key)) refuse('appears twice in the header', key);
    seen.add(key);
  }
  return header;
}

/** Keys of the outermost object of valid JSON, repetitions included: a parser keeps only the last of them. */
function* topLevelKeys(json: string): Generator<string> {
  let depth = 0;
  let key: string | undefined;
  for (const [token] of json.matchAll(/"(?:[^"\\]|\\.)*"|[{}[\]:]/g)) {
    if (token === '{' || token === '[') depth++;
    else if (token === '}' || token === ']') depth--;
    else if (token === ':') {
      if (depth === 1) yield JSON.parse(key!) as string;
    } else key = token;
  }
}

function readEntry<D>(
  value: unknown,
  dataStart: number,
  widths: ReadonlyMap<unknown, number>,
  refuse: (message: string) => never,
): TensorEntry<D> {
  if (!isObject(value)) return refuse(`must be an object with dtype, shape and data_offsets; got ${describe(value)}`);
  const { dtype, shape, data_offsets: offsets } = value;
  const width = widths.get(dtype);
  if (width === undefined)
    return refuse(
      `dtype must be ${[...widths.keys()].join(', ').replace(/, (?=[^,]*$)/, ' or ')}; got ${describe(dtype)}`,
    );
  if (!Array.isArray(shape) || !shape.every(isCount))
    return refuse(`shape must be a list of sizes; got ${describe(shape)}`);
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount) || offsets[1]! < offsets[0]!)
    return refuse(`data_offsets must be [begin, end]; got ${describe(offsets)}`);
  const [begin, end] = offsets as [number, number];
  const bytes = elementCount(shape) * width;
  if (bytes !== end - begin)
    refuse(`shape [${shape.join(', ')}] in ${String(dtype)} needs ${bytes} bytes; data_offsets span ${end - begin}`);
  return { shape, dtype: dtype as D, offset: dataStart + begin, bytes };
}

function checkLayout(
  entries: Map<string, TensorEntry<unknown>>,
  dataStart: number,
  size: number,
  refuse: Refuse,
): void {
  let at = dataStart;
  for (const [name, { offset, bytes }] of [...entries].sort(
    ([, a], [, b]) => a.offset - b.offset || a.bytes - b.bytes,
  )) {
    if (offset + bytes > size)
      refuse(`ends at byte ${offset + bytes}, but the file has ${size}; truncated or corrupt`, name);
    if (offset < at) refuse(`overlaps the tensor before it by ${at - offset} bytes`, name);
    if (offset > at) refuse(`leaves a gap of ${offset - at} bytes before it`, name);
    at += bytes;
  }
  if (at !== size) refuse(`${size - at} bytes follow the last tensor`);
}

/** Memory that is read into again and again: pages that nobody has had yet cost more than reading does. */
export class ReadBuffer {
  #memory = Buffer.alloc(0);
  /** So many bytes of it, what was taken before being lost. */
  take(length: number): Buffer<ArrayBuffer> {
    if (this.#memory.length < length) this.#memory = Buffer.allocUnsafeSlow(length);
    return this.#memory.subarray(0, length);
  }
}

const PIECE_BYTES = 8 * 2 ** 20;
/** Pieces read at a time: as many as the event loop's pool has threads. */
const AT_A_TIME = 4;

/**
 * Exactly `length` bytes at `position`, in memory of their own or the given one's.
 *
 * @throws INVALID_CHECKPOINT  the file ends earlier
 */
export async function readAt(
  handle: FileHandle,
  position: number,
  length: number,
  file: string,
  memory = new ReadBuffer(),
): Promise<Buffer<ArrayBuffer>> {
  const buffer = memory.take(length);
  let next = 0;
  const read = async () => {
    while (next < length) {
      let done = next;
      const end = (next = Math.min(length, next + PIECE_BYTES));
      while (done < end) {
        const { bytesRead } = await handle.read(buffer, done, end - done, position + done);
        if (bytesRead === 0)
          throw new G2rpoError(
            'INVALID_CHECKPOINT',
            `${file}: ends at byte ${position + done}, wanted ${position + length}`,
            { file },
          );
        done += bytesRead;
      }
    }
  };
  // all of them come to their end before the memory, or the file, is anybody else's
  const results = await Promise.allSettled(Array.from({ length: AT_A_TIME }, read));
  for (const result of results) if (result.status === 'rejected') throw result.reason;
  return buffer;
}
