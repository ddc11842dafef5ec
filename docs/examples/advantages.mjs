import { advantages, policyLoss } from 'g2rpo';

const rewards = [1, 0, 0, 1]; // four responses to one prompt, each one token long
const compared = await advantages('g2rpo', { rewards, groups: ['a', 'a', 'a', 'a'] });
const { loss, dLogProbs } = await policyLoss(
  {
    logProbs: Float32Array.of(-1.1, -0.4, -2.3, -0.7),
    oldLogProbs: Float32Array.of(-1.2, -0.4, -2.2, -1.2),
    advantages: Float32Array.from(compared),
    tokenStarts: Int32Array.of(0, 1, 2, 3, 4), // where each response begins
  },
  { loss: 'ppo', clipRange: { high: 0.3 } },
);
console.log({ advantages: Float32Array.from(compared), loss, dLogProbs });
