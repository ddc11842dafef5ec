import { lastBoxed } from './mathText.ts';

/**
 * 1 if the answer names the same letter as the ground truth, or the same set of letters, else 0.
 *
 * "B", "b", "(B)", "B. red", "Option B" and `\boxed{B}` all name B; "A, C" and "CA" name the same two. "A red ball"
 * names nothing: there A is a word. The text of an option without its letter is 0.
 */
export function multipleChoiceReward(prediction: string, answer: string): number {
  const wanted = lettersOf(answer);
  if (wanted === undefined) return prediction.trim().toLowerCase() === answer.trim().toLowerCase() ? 1 : 0;
  return lettersOf(prediction) === wanted ? 1 : 0;
}

/** The letters an answer names, sorted and without repeats, or undefined if it names none. */
function lettersOf(text: string): string | undefined {
  const bare = (lastBoxed(text) ?? text)
    .replace(/\\(?:text|textbf|mathrm|mathbf)\{([^{}]*)\}/g, '$1')
    .replace(/[*_`$]/g, '')
    .trim()
    .replace(/^(?:the\s+)?(?:(?:correct|final)\s+)?(?:answer|option|choice)\b\s*(?:is\b|:)?\s*(?:option\b\s*)?/i, '');
  const unbracketed = bare.replace(/[()[\]]/g, ' ').trim();
  if (/^[a-z]\.?$/.test(unbracketed)) return unbracketed[0]!.toUpperCase();
  if (/^[A-Z](?:(?:\s*[,;&]?\s*|\s*,?\s+and\s+)[A-Z])*\.?$/.test(unbracketed))
    return [...new Set(unbracketed.replace(/[^A-Z]/g, ''))].sort().join('');
  const lettered = /^(?:\(([A-Z])\)|([A-Z])[.):])\s*\S/i.exec(bare);
  return (lettered?.[1] ?? lettered?.[2])?.toUpperCase();
}
