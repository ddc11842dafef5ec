import { G2rpoError } from '../../runtime/errors.ts';
import { applyMerges, BYTE_CHARS, learnMerges, PIECES, type Merge } from './bpe.ts';
import { CHAT_TEMPLATE } from './chatTemplate.ts';
import { singleTokenWords, tokenizerCorpus } from './words.ts';

/** The added tokens of Qwen3-VL in the order of their ids; the first 14 are control tokens, the others text. */
const CONTROL = [
  ...['<|endoftext|>', '<|im_start|>', '<|im_end|>', '<|object_ref_start|>', '<|object_ref_end|>'],
  ...['<|box_start|>', '<|box_end|>', '<|quad_start|>', '<|quad_end|>'],
  ...['<|vision_start|>', '<|vision_end|>', '<|vision_pad|>', '<|image_pad|>', '<|video_pad|>'],
];
const TEXTUAL = [
  ...['<tool_call>', '</tool_call>', '<|fim_prefix|>', '<|fim_middle|>', '<|fim_suffix|>', '<|fim_pad|>'],
  ...['<|repo_name|>', '<|file_sep|>', '<tool_response>', '</tool_response>', '<think>', '</think>'],
];
/** One token each, so that the small policy spends no attention on spelling its tags. */
const OF_GALLERY = ['<answer>', '</answer>'];
const ADDED = [...CONTROL, ...TEXTUAL, ...OF_GALLERY];

export interface TokenizerOptions {
  /** further texts to learn from, such as the wording of a prompt template */
  texts?: readonly string[];
  /** further words that must be one token */
  words?: readonly string[];
  /** ids at most; default 512 */
  vocabSize?: number;
}

export interface BuiltTokenizer {
  /** tokenizer.json, tokenizer_config.json, vocab.json, merges.txt and chat_template.json, by name */
  files: Record<string, string>;
  /** ids in use; the embedding has this many rows or more */
  size: number;
  /** added tokens by their text */
  ids: Record<string, number>;
}

/**
 * A small tokenizer of the Qwen kind for the gallery: byte-level BPE on the gallery's own wording, then the added tokens.
 * Always the same for the same options. Any text can be encoded, if at a token per byte.
 *
 * @throws INVALID_ARGUMENT  a word cannot be one token, because it is cut into pieces or there are too few ids
 */
export function buildTokenizer({ texts = [], words = [], vocabSize = 512 }: TokenizerOptions = {}): BuiltTokenizer {
  const plain = [...tokenizerCorpus(), ...texts].flatMap(withoutAdded);
  const wanted = [...singleTokenWords, ...words];
  const merges = learnMerges(plain, wanted, Math.max(0, vocabSize - BYTE_CHARS.length - ADDED.length));
  for (const word of wanted) refuseIfSplit(word, merges, vocabSize);
  const tokens = [...[...BYTE_CHARS].sort(byCode), ...merges.map(([left, right]) => left + right)];
  const vocab = Object.fromEntries(tokens.map((token, id) => [token, id]));
  const ids = Object.fromEntries(ADDED.map((content, i) => [content, tokens.length + i]));
  return {
    size: tokens.length + ADDED.length,
    ids,
    files: {
      'tokenizer.json': json(tokenizerJson(vocab, merges, ids)),
      'tokenizer_config.json': json(configJson(ids)),
      'vocab.json': json(vocab),
      'merges.txt': ['#version: 0.2', ...merges.map((merge) => merge.join(' ')), ''].join('\n'),
      'chat_template.json': json({ chat_template: CHAT_TEMPLATE }),
    },
  };
}

function refuseIfSplit(word: string, merges: readonly Merge[], vocabSize: number): void {
  const isOnePiece = new RegExp(`^(?:${PIECES.replace('(?i:', '(?:')})$`, 'u').test(word);
  const tokens = applyMerges(word, merges);
  if (isOnePiece && tokens.length === 1) return;
  const why = isOnePiece ? `vocabSize ${vocabSize} is too small` : 'it is cut before merging';
  const message = `tokenizer: ${JSON.stringify(word)} must be one token; got ${tokens.join(' ')}: ${why}`;
  throw new G2rpoError('INVALID_ARGUMENT', message, { word, tokens, vocabSize });
}

/** The text between added tokens, which are cut out before anything else. */
function withoutAdded(text: string): string[] {
  const names = ADDED.map((name) => name.replace(/[|]/g, '\\$&'));
  return text.split(new RegExp(names.join('|'))).filter((part) => part !== '');
}

/** Printable bytes first, as in every vocabulary of this kind. */
function byCode(a: string, b: string): number {
  return a < b ? -1 : 1;
}

function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

function addedToken(content: string): object {
  const special = CONTROL.includes(content);
  return { content, single_word: false, lstrip: false, rstrip: false, normalized: false, special };
}

function tokenizerJson(vocab: Record<string, number>, merges: readonly Merge[], ids: Record<string, number>): object {
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: false, use_regex: false };
  const split = { type: 'Split', pattern: { Regex: PIECES }, behavior: 'Isolated', invert: false };
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: ADDED.map((content) => ({ id: ids[content], ...addedToken(content) })),
    normalizer: { type: 'NFC' },
    pre_tokenizer: { type: 'Sequence', pretokenizers: [split, byteLevel] },
    post_processor: byteLevel,
    decoder: byteLevel,
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: '',
      end_of_word_suffix: '',
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab,
      merges,
    },
  };
}

function configJson(ids: Record<string, number>): object {
  return {
    add_bos_token: false,
    add_prefix_space: false,
    added_tokens_decoder: Object.fromEntries(ADDED.map((content) => [ids[content], addedToken(content)])),
    additional_special_tokens: CONTROL.slice(1),
    bos_token: null,
    chat_template: CHAT_TEMPLATE,
    clean_up_tokenization_spaces: false,
    eos_token: '<|im_end|>',
    errors: 'replace',
    model_max_length: 4096,
    pad_token: '<|endoftext|>',
    split_special_tokens: false,
    tokenizer_class: 'Qwen2Tokenizer',
    unk_token: null,
  };
}
