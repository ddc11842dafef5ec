/** How Qwen models cut a text into pieces before merging: words with the blank before them, single digits, signs. */
export const PIECES =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/** The same for this engine, which has no inline flags; only letter case of the contractions is affected. */
const pieces = new RegExp(PIECES.replace('(?i:', '(?:'), 'gu');

/** The 256 characters that stand for the bytes in vocabularies: printable bytes for themselves, the rest from U+0100 on. */
export const BYTE_CHARS: readonly string[] = byteChars();

export type Merge = readonly [left: string, right: string];

function byteChars(): string[] {
  const isPrintable = (byte: number): boolean =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(isPrintable(byte) ? byte : next++));
}

/** A text in the characters that stand for its UTF-8 bytes. */
export function byteText(text: string): string {
  return Array.from(new TextEncoder().encode(text), (byte) => BYTE_CHARS[byte]!).join('');
}

/**
 * The merges of a byte-pair encoding, most frequent pair first; among equals the first in code unit order.
 *
 * The `words` count more than all texts together, so that each of them becomes one token before anything else is merged.
 * Learning ends at `most` merges, or when no pair occurs twice.
 */
export function learnMerges(texts: readonly string[], words: readonly string[], most: number): Merge[] {
  const counts = new Map<string, number>();
  for (const text of texts)
    for (const [piece] of text.matchAll(pieces)) counts.set(byteText(piece), (counts.get(byteText(piece)) ?? 0) + 1);
  const total = [...counts].reduce((sum, [piece, count]) => sum + count * piece.length, 1);
  for (const word of words) counts.set(byteText(word), (counts.get(byteText(word)) ?? 0) + total);

  let entries = [...counts].map(([piece, count]) => ({ parts: [...piece], count }));
  const merges: Merge[] = [];
  while (merges.length < most) {
    const best = mostFrequentPair(entries);
    if (!best) break;
    merges.push(best);
    entries = entries.map(({ parts, count }) => ({ parts: mergePair(parts, best), count }));
  }
  return merges;
}

/** The tokens of one piece under the merges. */
export function applyMerges(piece: string, merges: readonly Merge[]): string[] {
  return merges.reduce((parts, merge) => mergePair(parts, merge), [...byteText(piece)]);
}

function mostFrequentPair(entries: readonly { parts: string[]; count: number }[]): Merge | undefined {
  const counts = new Map<string, number>();
  for (const { parts, count } of entries)
    for (let i = 0; i + 1 < parts.length; i++) {
      const pair = `${parts[i]!} ${parts[i + 1]!}`; // a blank is no byte character
      counts.set(pair, (counts.get(pair) ?? 0) + count);
    }
  let best: [pair: string, count: number] = ['', 1];
  for (const [pair, count] of counts)
    if (count > best[1] || (count === best[1] && best[0] !== '' && pair < best[0])) best = [pair, count];
  return best[0] === '' ? undefined : (best[0].split(' ') as [string, string]);
}

function mergePair(parts: readonly string[], [left, right]: Merge): string[] {
  const merged: string[] = [];
  for (let i = 0; i < parts.length; i++)
    merged.push(parts[i] === left && parts[i + 1] === right ? parts[i]! + parts[++i]! : parts[i]!);
  return merged;
}
