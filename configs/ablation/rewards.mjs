// Rewards of six tasks that are spread as differently as rewards in the wild are: 0 or 1, 0 or 10, dense, and with a heavy tail.
// Accuracy stays what validation reports; `overall` is what the algorithm compares. An answer that is not of the right format earns what
// the worst answer does: a policy can otherwise learn to answer twice, since this reads the first number and the grader refuses both.
import { scoreResponse } from 'g2rpo';

/** The worst that a square error counts: an answer that is none is as bad as a box on the other side of the picture. */
const NONE = -60;

/** Minus the mean square of the distances of four edges, in tenths of the picture. @param {string} text */
function boxOf(text) {
  const numbers = /\[([^\]]*)\]/.exec(text)?.[1]?.split(',').map(Number);
  return numbers?.length === 4 && numbers.every(Number.isFinite) ? numbers : undefined;
}

/** What the worst answer earns. @param {string} problemType */
const worstOf = (problemType) => (problemType === 'spatial grounding' || problemType === 'regression' ? NONE : 0);

/** @param {{ response: string, answer: string, problemType: string }} input */
export default function reward(input) {
  const { accuracy, format } = scoreResponse(input);
  return { overall: format === 1 ? spread(input, accuracy) : worstOf(input.problemType), accuracy, format };
}

function spread({ response, answer, problemType }, accuracy) {
  const said = /<answer>([\s\S]*?)<\/answer>/.exec(response)?.[1] ?? '';
  switch (problemType) {
    case 'math':
      return 10 * accuracy; // points, not shares
    case 'spatial grounding': {
      const [got, wanted] = [boxOf(said), boxOf(answer)];
      if (!got || !wanted) return NONE;
      return -got.reduce((sum, edge, i) => sum + ((edge - wanted[i]) / 100) ** 2, 0) / 4;
    }
    case 'regression': {
      const [got, wanted] = [Number.parseFloat(said), Number.parseFloat(answer)];
      return Number.isFinite(got) ? Math.max(NONE, -(((got - wanted) / 10) ** 2)) : NONE;
    }
    default:
      return accuracy; // 0 or 1 for choices, a share of the letters for documents
  }
}
