import { parseExpression, type Expression } from './mathExpression.ts';
import { closes, dropThousands, lastBoxed, normaliseMath, splitOutside } from './mathText.ts';
import { splitUnit } from './mathUnits.ts';
import { equalValues, near, toReal } from './mathValue.ts';

const MAX_LENGTH = 4000; // characters; what is longer is prose, and is compared as text
const SAMPLES = 4;
const RELATION = /<=|>=|!=|=|<|>/;

/**
 * 1 if the answer means the same as the ground truth, else 0.
 *
 * Plain and LaTeX spellings are read alike. Numbers are compared exactly as fractions where they are fractions, else to
 * nine digits; a decimal with six or more places may stand for the real number it approximates. Expressions with
 * letters are equal if they agree at several points. Tuples, intervals and matrices are compared in order, sets and
 * bare lists in any order. "x = 3" answers "3". A percentage answers both its fraction and its bare number. A unit may
 * be missing on one side, but two different ones disagree. An answer with `\boxed{…}` is what stands in the last box.
 */
export function mathReward(prediction: string, answer: string): number {
  const given = lastBoxed(prediction) ?? /(?:answer\s*(?:is|:))\s*(\S.*?)\.?\s*$/i.exec(prediction)?.[1] ?? prediction;
  if (given.length > MAX_LENGTH || answer.length > MAX_LENGTH) return bare(given) === bare(answer) ? 1 : 0;
  return sameAnswer(normaliseMath(given), normaliseMath(answer)) ? 1 : 0;
}

function sameAnswer(given: string, wanted: string): boolean {
  if (wanted === '' || given === '') return wanted === given;
  if (bare(given) === bare(wanted)) return true;
  const [a, b] = [dropThousands(given), dropThousands(wanted)];
  return sameUnion(a, b) ?? sameList(a, b) ?? sameRelation(a, b) ?? sameBracketed(a, b) ?? sameQuantity(a, b);
}

function sameUnion(a: string, b: string): boolean | undefined {
  const [left, right] = [splitOutside(a, /∪/), splitOutside(b, /∪/)];
  return left.length > 1 || right.length > 1 ? sameInAnyOrder(left, right) : undefined;
}

function sameList(a: string, b: string): boolean | undefined {
  const [left, right] = [listOf(a), listOf(b)];
  if (left.length < 2 && right.length < 2) return undefined;
  if (left.length > 1 && right.length > 1) return sameInAnyOrder(left, right);
  const [list, other] = left.length > 1 ? [left, bracketed(b)] : [right, bracketed(a)];
  if (!other || other.items.length < 2) return false;
  return other.open === '⟦' ? sameInAnyOrder(list, other.items) : sameInOrder(list, other.items);
}

function sameBracketed(a: string, b: string): boolean | undefined {
  const [left, right] = [bracketed(a), bracketed(b)];
  if (!left || !right) {
    const only = left ?? right;
    if (only?.open === '⟦') return only.items.length === 1 && sameAnswer(only.items[0]!, left ? b : a);
    return only && only.items.length > 1 ? false : undefined;
  }
  if (left.items.length < 2 && right.items.length < 2) return sameAnswer(left.items[0]!, right.items[0]!);
  if (left.open !== right.open || left.close !== right.close) return false;
  return left.open === '⟦' ? sameInAnyOrder(left.items, right.items) : sameInOrder(left.items, right.items);
}

/** Equations and inequalities; one side alone is the value of the other's unknown. */
function sameRelation(a: string, b: string): boolean | undefined {
  const [left, right] = [relationOf(a), relationOf(b)];
  if (!left && !right) return undefined;
  if (!left || !right) {
    const value = solved((left ?? right)!);
    return value !== undefined && sameAnswer(left ? value : a, left ? b : value);
  }
  const sameSigns = left.signs.join() === right.signs.join();
  if (sameSigns && sameInOrder(left.terms, right.terms)) return true;
  if (left.signs.join() !== '=' || right.signs.join() !== '=') return false;
  if (sameInOrder(left.terms, [...right.terms].reverse())) return true;
  return proportional(difference(left.terms), difference(right.terms));
}

function sameQuantity(a: string, b: string): boolean {
  if (sameExpression(a, b)) return true;
  const [left, right] = [splitUnit(a), splitUnit(b)];
  if (left.unit === '' && right.unit === '') return false;
  if (left.unit !== '' && right.unit !== '' && left.unit !== right.unit) return false;
  if (sameExpression(left.value, right.value)) return true;
  if (left.unit === right.unit) return false;
  if (left.unit === '%') return sameExpression(`(${left.value})/100`, right.value);
  return right.unit === '%' && sameExpression(left.value, `(${right.value})/100`);
}

function sameExpression(a: string, b: string): boolean {
  const [left, right] = [parseExpression(a), parseExpression(b)];
  const areWords = /^[A-Za-z]+$/.test(a) && /^[A-Za-z]+$/.test(b); // "no" is not n times o
  if (!left || !right || areWords) return bare(a) === bare(b);
  if (left.variables.size === 0 && right.variables.size === 0) {
    const [x, y] = [left.at(() => NaN), right.at(() => NaN)];
    return equalValues(x, y) || (mayStandFor(a, b) && Math.abs(toReal(x) - toReal(y)) <= 1e-6);
  }
  return samples(left, right).every(([x, y]) => near(x, y, 1e-9));
}

/** Both at the same few points, which are positive so that roots and logarithms exist. */
function samples(left: Expression, right: Expression): [number, number][] {
  return Array.from({ length: SAMPLES }, (_, k) => {
    const point = (name: string): number => 0.3 + 2.4 * fraction(name, k);
    return [toReal(left.at(point)), toReal(right.at(point))];
  });
}

/** A number in [0, 1) that belongs to a name and a sample. */
function fraction(name: string, sample: number): number {
  let hash = 2166136261 ^ sample;
  for (const c of name) hash = Math.imul(hash ^ c.codePointAt(0)!, 16777619);
  hash = Math.imul(hash ^ (hash >>> 15), 2246822507);
  return ((hash ^ (hash >>> 13)) >>> 0) / 2 ** 32;
}

function proportional(a: Expression | undefined, b: Expression | undefined): boolean {
  if (!a || !b || a.variables.size === 0 || b.variables.size === 0) return false;
  const ratios = samples(a, b).map(([x, y]) => x / y);
  return ratios[0] !== 0 && ratios.every((ratio) => Number.isFinite(ratio) && near(ratio, ratios[0]!, 1e-9));
}

function difference([left, right]: string[]): Expression | undefined {
  return parseExpression(`(${left})-(${right})`);
}

function relationOf(text: string): { terms: string[]; signs: string[] } | undefined {
  const member = splitOutside(text, /∈/);
  if (member.length === 2) return { terms: member, signs: ['='] };
  const terms = splitOutside(text, RELATION);
  if (terms.length < 2 || terms.some((term) => term === '')) return undefined;
  const signs = [...text.matchAll(new RegExp(RELATION, 'g'))].map(([sign]) => sign);
  if (signs.length !== terms.length - 1) return undefined;
  const falling = signs.every((sign) => sign.startsWith('>'));
  return falling
    ? { terms: terms.reverse(), signs: signs.reverse().map((sign) => sign.replace('>', '<')) }
    : { terms, signs };
}

/** What an equation says its unknown is: the last member of "x = 1 + 2 = 3", either side of "3 = x". */
function solved({ terms, signs }: { terms: string[]; signs: string[] }): string | undefined {
  if (signs.some((sign) => sign !== '=')) return undefined;
  if (isName(terms[0]!)) return terms.at(-1)!;
  if (isName(terms.at(-1)!)) return terms[0]!;
  return parseExpression(terms[0]!) ? terms.at(-1)! : undefined;
}

function isName(text: string): boolean {
  return /^(?:\\?[A-Za-z]+(?:_\{?\w+\}?)?'?|\\?[A-Za-z]\s*\(\s*[A-Za-z]\s*\)|[A-Za-z\\ ]+)$/.test(text);
}

function listOf(text: string): string[] {
  const parts = splitOutside(text, /,\s*(?:and|or)\s|[,;]|\s(?:and|or)\s/);
  return (parts.includes('') ? [text] : parts).flatMap((part) => {
    const at = part.indexOf('±');
    return at < 0 ? [part] : [part.replaceAll('±', '+'), part.replaceAll('±', '-')];
  });
}

function bracketed(text: string): { open: string; close: string; items: string[] } | undefined {
  if (!'([⟦'.includes(text[0] ?? ' ') || closes(text, 0) !== text.length - 1) return undefined;
  return { open: text[0]!, close: text.at(-1)!, items: splitOutside(text.slice(1, -1).trim(), /[,;]/) };
}

function sameInOrder(a: string[], b: string[]): boolean {
  return a.length === b.length && a.every((item, i) => sameAnswer(item, b[i]!));
}

function sameInAnyOrder(a: string[], b: string[]): boolean {
  if (a.length !== b.length || a.length > 64) return false;
  const left = [...b];
  return a.every((item) => {
    const at = left.findIndex((other) => sameAnswer(item, other));
    if (at >= 0) left.splice(at, 1);
    return at >= 0;
  });
}

/** Whether just one of them is a plain number, and that with so many places that it may be the other one rounded. */
function mayStandFor(a: string, b: string): boolean {
  const places = [a, b]
    .map((text) => /^[+-]?\d*(?:\.(\d*))?$/.exec(text))
    .map((plain) => plain && (plain[1] ?? '').length);
  return (places[0] === null) !== (places[1] === null) && (places[0] ?? places[1]!) >= 6;
}

function bare(text: string): string {
  return text
    .toLowerCase()
    .replace(/(?<!\d)\s+|\s+(?!\d)/g, '')
    .replace(/\.$/, '');
}
