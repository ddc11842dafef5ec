import type { CurrentScores } from '../algorithms/index.ts';
import { microBatches, packSlices, type RolloutBatch, type Slice } from '../rollout/packBatch.ts';
import type { ParameterUpdate, LossScores, Scores } from '../model/qwen3vl/policy.ts';
import type { TokenLoss } from '../types.ts';
import { onlyPart } from './rowBudget.ts';
import type { TrainedPolicy, UpdateRun } from './run.ts';

/** What the policy says of every token on the way of an update. */
export interface UpdateScores extends CurrentScores {
  /** [N] */
  loss: Float32Array;
  /** [N] */
  clipped: Int32Array;
  /** of all gradients, where the pass has made the update */
  squaredNorm?: number;
}

/** The tokens of a micro-batch in lists [N] of the whole: its slices' rollouts stand next to each other. */
function tokensOf(slices: readonly Slice[], tokenStarts: Int32Array): [begin: number, end: number] {
  const last = slices.at(-1)!;
  return [tokenStarts[slices[0]!.first]!, tokenStarts[last.first + last.to - last.from]!];
}

/** Log-probabilities and entropies of all tokens under a policy as it is now, at the sampling temperature. */
export async function scoresOf(
  run: UpdateRun,
  batch: RolloutBatch,
  policy: Pick<TrainedPolicy, 'forward'> = run.policy,
): Promise<CurrentScores> {
  const tokens = batch.tokenStarts.at(-1)!;
  const all = { logProbs: new Float32Array(tokens), entropy: new Float32Array(tokens) };
  await inMicroBatches(run, batch, async (slices) => {
    const [begin] = tokensOf(slices, batch.tokenStarts);
    const scores: Scores = await policy.forward(packSlices(slices, run.policy.config.vision.merge), temperature(run));
    all.logProbs.set(scores.logProbs, begin);
    all.entropy.set(scores.entropy, begin);
  });
  return all;
}

/**
 * The gradient of the loss, micro-batch by micro-batch, in the place of what was there; returns what the policy said of every token. With an
 * update, which the backward pass makes, there is one micro-batch.
 *
 * @throws INVALID_CONFIG  with an update, train.microBatchTokens cuts the batch
 */
export async function backward(
  run: UpdateRun,
  batch: RolloutBatch,
  loss: TokenLoss,
  update?: ParameterUpdate,
): Promise<UpdateScores> {
  const tokens = batch.tokenStarts.at(-1)!;
  const reals = () => new Float32Array(tokens);
  const all: UpdateScores = { logProbs: reals(), entropy: reals(), loss: reals(), clipped: new Int32Array(tokens) };
  const learn = async (slices: Slice[], accumulate = true) => {
    const [begin, end] = tokensOf(slices, batch.tokenStarts);
    const micro = packSlices(slices, run.policy.config.vision.merge);
    const part = partOf(loss, begin, end);
    const scores: LossScores = await run.policy.forwardBackward(micro, part, {
      ...temperature(run),
      recompute: run.config.train.recompute,
      accumulate,
      update,
    });
    if (scores.squaredNorm !== undefined) all.squaredNorm = scores.squaredNorm;
    all.logProbs.set(scores.logProbs, begin);
    all.entropy.set(scores.entropy, begin);
    all.loss.set(scores.loss, begin);
    all.clipped.set(scores.clipped, begin);
  };
  if (update) await learn(onlyPart((rows) => microBatches(batch.groups, rows), run.config.train));
  else await inMicroBatches(run, batch, learn);
  return all;
}

/** Every micro-batch in turn, from the first one where memory was short and all begins anew; `later`: there was one before. */
async function inMicroBatches(
  { budget }: UpdateRun,
  { groups }: RolloutBatch,
  body: (slices: Slice[], later: boolean) => Promise<void>,
): Promise<void> {
  await budget.within(
    (rows) => microBatches(groups, rows),
    async (micros) => {
      for (const [k, slices] of micros.entries()) await body(slices, k > 0);
    },
  );
}

/** The loss of the tokens [begin, end). */
function partOf(loss: TokenLoss, begin: number, end: number): TokenLoss {
  const { kl, logProbSlopes, oldLogProbs } = loss;
  const cut = (list: Float32Array) => list.subarray(begin, end);
  return {
    ...loss,
    advantages: cut(loss.advantages),
    weights: cut(loss.weights),
    entropySlopes: cut(loss.entropySlopes),
    ...(oldLogProbs && { oldLogProbs: cut(oldLogProbs) }),
    ...(logProbSlopes && { logProbSlopes: cut(logProbSlopes) }),
    ...(kl && { kl: { ...kl, refLogProbs: cut(kl.refLogProbs), weights: cut(kl.weights) } }),
  };
}

const temperature = ({ config }: UpdateRun) => ({ temperature: config.rollout.temperature });
