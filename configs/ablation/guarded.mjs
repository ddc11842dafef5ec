// The rewards of rewards.mjs for answers of the right format; all others earn what the worst answer does. Without this a policy can
// learn to answer twice: the reward reads the first number, the grader of accuracy refuses both.
import reward, { worstOf } from './rewards.mjs';

/** @param {{ response: string, answer: string, problemType: string }} input */
export default function guarded(input) {
  const scored = reward(input);
  return scored.format === 1 ? scored : { ...scored, overall: worstOf(input.problemType) };
}
