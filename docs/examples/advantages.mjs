import { gaussianAdvantage, policyLoss, Scope, tensor } from 'g2rpo';

const scope = new Scope(); // owns what is made from its tensors, and frees it together
const rewards = tensor(Float64Array.of(1, 0, 0, 1), [4], scope); // four responses to one prompt
const { advantages } = gaussianAdvantage({ rewards, segmentStarts: Int32Array.of(0, 4) }); // enqueues and returns
const perToken = Float32Array.from(await advantages.read()); // waits; here every response is one token long
const logProbs = tensor(Float32Array.of(-1.1, -0.4, -2.3, -0.7), [4], scope);
const oldLogProbs = Float32Array.of(-1.2, -0.4, -2.2, -1.2);
const weights = new Float32Array(4).fill(1 / 4); // one by the number of tokens
const { loss, dLogProbs } = policyLoss({ logProbs, oldLogProbs, advantages: perToken, weights, clipHigh: 0.3 });
console.log({ advantages: perToken, loss: await loss.read(), dLogProbs: await dLogProbs.read() });
scope.dispose();
