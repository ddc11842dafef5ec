import { editDistance } from '../runtime/errors.ts';

/** 1 − word error rate, at least 0. Case and punctuation count; the kind of white space does not. */
export function ocrReward(prediction: string, answer: string): number {
  return Math.max(0, 1 - wordErrorRate(answer, prediction));
}

/**
 * Word-level Levenshtein distance over the number of reference words (at least 1); it exceeds 1 when the hypothesis
 * is much longer than the reference.
 */
export function wordErrorRate(reference: string, hypothesis: string): number {
  const [wanted, given] = [wordsOf(reference), wordsOf(hypothesis)];
  return editDistance(wanted, given) / Math.max(1, wanted.length);
}

function wordsOf(text: string): string[] {
  return text.split(/\s+/).filter((word) => word !== '');
}
