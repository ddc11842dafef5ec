// Rewards of six tasks that are spread as differently as rewards in the wild are: 0 or 1, 0 or 10, dense, and with a heavy tail.
// Accuracy stays what validation reports; `overall` is what the algorithm compares. An answer that is not of the right format earns what
// the worst answer does, and a number or a box is read only where nothing stands beside it: whatever this pays and the grader of accuracy
// refuses, some policy finds (docs/LOG.md).
import { scoreResponse } from 'g2rpo';

/** The worst that a square error counts: an answer that is none is as bad as a box on the other side of the picture. */
const NONE = -60;

/** The four edges of an answer, in thousandths of the picture. @param {string} text */
function boxOf(text) {
  try {
    const { boxes } = JSON.parse(text);
    return boxes.length === 4 && boxes.every(Number.isFinite) ? boxes : undefined;
  } catch {
    return undefined;
  }
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
      const [got, wanted] = [said.trim() === '' ? NaN : Number(said), Number(answer)];
      return Number.isFinite(got) ? Math.max(NONE, -(((got - wanted) / 10) ** 2)) : NONE;
    }
    default:
      return accuracy; // 0 or 1 for choices, a share of the letters for documents
  }
}
