import { Tokenizer as Encoder } from '@huggingface/tokenizers';
import { G2rpoError } from '../../runtime/errors.ts';
import { describe, isCount, isObject } from './configReader.ts';
import { readJsonFile } from './jsonFile.ts';

export interface DecodeOptions {
  /** leave out control tokens such as `<|im_end|>`; `<think>` and its like are text and stay */
  skipSpecial?: boolean;
}

/** Text from tokens as they come. */
export interface TokenStream {
  /** The text that is certain after one more token: bytes of an unfinished character are held back. */
  push(id: number): string;
  /** What was held back, as U+FFFD: the stream ended within a character. */
  end(): string;
}

export interface Tokenizer {
  /** one more than the largest id that has a text */
  readonly size: number;
  /** ids that end a response */
  readonly stopIds: readonly number[];
  /** Token ids of a text, nothing added. Names of added tokens within it become those tokens. */
  encode(text: string): Int32Array;
  /** Text of tokens. Invalid UTF-8 becomes U+FFFD; an id without text has none. */
  decode(ids: ArrayLike<number>, options?: DecodeOptions): string;
  /** Decodes token by token; the pieces joined are what `decode` returns for all. */
  stream(options?: DecodeOptions): TokenStream;
  /** What every id adds to a text without control tokens, in UTF-8, one after the other, and where each begins: [size + 1]. */
  textBytes(): { bytes: Uint8Array; starts: Int32Array };
  /** The id of a token by its text, if there is one. */
  idOf(token: string): number | undefined;
  /** The first control token that a text spells out, if any: such a text must not come from outside. */
  controlTokenIn(text: string): string | undefined;
}

const NO_BYTES = new Uint8Array();

interface AddedToken {
  id: number;
  content: string;
  special: boolean;
}

/**
 * The tokenizer of a checkpoint folder: byte-level BPE after NFC, from `tokenizer.json`; `stopIds` from
 * `generation_config.json`, or else the `eos_token` of `tokenizer_config.json`.
 *
 * @throws INVALID_CHECKPOINT  a file is missing or does not describe such a tokenizer
 */
export async function loadTokenizer(dir: string): Promise<Tokenizer> {
  const file = `${dir}/tokenizer.json`;
  const json = await readJsonFile(file);
  const settings = await readJsonFile(`${dir}/tokenizer_config.json`);
  const { vocab: idOf, added } = readVocabulary(json, file);
  const generation = await readJsonFile(`${dir}/generation_config.json`, { optional: true });
  const encoder = buildEncoder(json, settings, file);

  const bytesOf: (Uint8Array | undefined)[] = [];
  for (const [token, id] of idOf) bytesOf[id] = byteLevelBytes(token);
  for (const { id, content } of added) {
    bytesOf[id] = new TextEncoder().encode(content);
    idOf.set(content, id);
  }
  const special = new Set(added.filter((token) => token.special).map((token) => token.id));
  const control = added.filter((token) => token.special).map((token) => token.content);

  const bytesFor = (id: number, skipSpecial = false) => (skipSpecial && special.has(id) ? undefined : bytesOf[id]);
  return {
    size: bytesOf.length,
    stopIds: readStopIds(generation, settings, idOf, dir),
    encode: (text) => Int32Array.from(encoder.encode(text, { add_special_tokens: false }).ids),
    decode(ids, { skipSpecial } = {}) {
      const pieces = Array.from(ids, (id) => bytesFor(id, skipSpecial) ?? NO_BYTES);
      return new TextDecoder('utf-8', { ignoreBOM: true }).decode(Buffer.concat(pieces));
    },
    stream({ skipSpecial } = {}) {
      const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
      return {
        push: (id) => decoder.decode(bytesFor(id, skipSpecial) ?? NO_BYTES, { stream: true }),
        end: () => decoder.decode(),
      };
    },
    textBytes() {
      const pieces = Array.from({ length: bytesOf.length }, (_, id) => bytesFor(id, true) ?? NO_BYTES);
      const starts = new Int32Array(pieces.length + 1);
      pieces.forEach((piece, id) => (starts[id + 1] = starts[id]! + piece.length));
      return { bytes: new Uint8Array(Buffer.concat(pieces)), starts };
    },
    idOf: (token) => idOf.get(token),
    controlTokenIn: (text) => control.find((content) => text.includes(content)),
  };
}

function readVocabulary(json: unknown, file: string): { vocab: Map<string, number>; added: AddedToken[] } {
  const model = isObject(json) ? json['model'] : undefined;
  const vocab = isObject(model) && model['type'] === 'BPE' ? model['vocab'] : undefined;
  const added: unknown = isObject(json) ? (json['added_tokens'] ?? []) : undefined;
  if (!isObject(vocab) || !Object.values(vocab).every(isCount))
    throw new G2rpoError('INVALID_CHECKPOINT', `${file}: model must be a BPE with a vocab of ids`, { file });
  const isAdded = (token: unknown) => isObject(token) && isCount(token['id']) && typeof token['content'] === 'string';
  if (!Array.isArray(added) || !added.every(isAdded))
    throw new G2rpoError('INVALID_CHECKPOINT', `${file}: added_tokens must be a list of {id, content, special}`, {
      file,
    });
  const ids = new Map(Object.entries(vocab) as [string, number][]);
  checkMerges((model as Record<string, unknown>)['merges'], ids, file);
  return { vocab: ids, added: added as AddedToken[] };
}

/** Merges are ["a", "b"] or "a b", all in one spelling; a, b and ab are of the vocabulary. What is not would never be merged. */
function checkMerges(merges: unknown, vocab: ReadonlyMap<string, number>, file: string): void {
  if (!Array.isArray(merges))
    throw new G2rpoError('INVALID_CHECKPOINT', `${file}: model.merges must be a list; got ${describe(merges)}`, {
      file,
    });
  const inLists = Array.isArray(merges[0]);
  const refuse = (index: number, wanted: string): never => {
    const got = describe(merges[index]);
    const message = `${file}: model.merges[${index}] must be ${wanted}; got ${got}`;
    throw new G2rpoError('INVALID_CHECKPOINT', message, { file, index, wanted, got });
  };
  merges.forEach((merge: unknown, index) => {
    const pair: unknown = inLists ? merge : typeof merge === 'string' ? merge.split(' ') : undefined;
    if (!Array.isArray(pair) || pair.length !== 2 || typeof pair[0] !== 'string' || typeof pair[1] !== 'string')
      return refuse(index, `a pair of tokens, ["a", "b"] or "a b", as the others are`);
    const [a, b] = pair as [string, string];
    for (const token of [a, b, a + b])
      if (!vocab.has(token)) refuse(index, `of tokens of model.vocab, which has no ${JSON.stringify(token)}`);
  });
}

function buildEncoder(json: unknown, settings: unknown, file: string): Encoder {
  try {
    return new Encoder(json as object, settings as object);
  } catch (cause) {
    const message = `${file}: not a usable tokenizer: ${(cause as Error).message}`;
    throw new G2rpoError('INVALID_CHECKPOINT', message, { file }, { cause });
  }
}

function readStopIds(generation: unknown, settings: unknown, idOf: Map<string, number>, dir: string): number[] {
  const stored = isObject(generation) ? generation['eos_token_id'] : undefined;
  const ids = [stored ?? []].flat();
  if (ids.length > 0 && ids.every(isCount)) return ids;
  const name = isObject(settings) ? settings['eos_token'] : undefined;
  const text = isObject(name) ? name['content'] : name;
  const id = typeof text === 'string' ? idOf.get(text) : undefined;
  if (ids.length === 0 && id !== undefined) return [id];
  throw new G2rpoError(
    'INVALID_CHECKPOINT',
    `${dir}: generation_config.json must have an eos_token_id, or tokenizer_config.json an eos_token of the vocabulary; got ${JSON.stringify(stored)} and ${JSON.stringify(name)}`,
    { dir },
  );
}

/** Byte-level vocabularies spell bytes as printable characters: itself if printable in Latin-1, else the next from U+0100. */
const BYTE_OF_LETTER = new Map<string, number>();
for (let byte = 0, next = 256; byte < 256; byte++) {
  const printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  BYTE_OF_LETTER.set(String.fromCodePoint(printable ? byte : next++), byte);
}

/** The bytes that a vocabulary entry stands for. An entry with a letter outside the alphabet is text as it is. */
function byteLevelBytes(token: string): Uint8Array {
  const bytes = Array.from(token, (letter) => BYTE_OF_LETTER.get(letter));
  return bytes.includes(undefined) ? new TextEncoder().encode(token) : Uint8Array.from(bytes as number[]);
}
