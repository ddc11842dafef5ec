import { createHash } from 'node:crypto';
import { KL_KINDS, POLICY_LOSS_KINDS, weightedLossReference } from '../../lib/kernels/policyLoss.ts';
import type { EncodedPrompt } from '../../lib/model/qwen3vl/encodePrompt.ts';
import type { PolicyBatch } from '../../lib/model/qwen3vl/policyBatch.ts';
import { G2rpoError } from '../../lib/runtime/errors.ts';
import { tensor } from '../../lib/runtime/tensor.ts';
import type { TrainedPolicy } from '../../lib/train/run.ts';
import type { Prompt } from '../../lib/types.ts';

const LETTERS = 'abcdefg';
const STOP = LETTERS.length;
const VOCAB = STOP + 1;

/** A uniform number in [0, 1) that depends on the keys alone. */
function uniform(...keys: number[]): number {
  return createHash('sha256').update(keys.join(' ')).digest().readUInt32LE(0) / 2 ** 32;
}

export function fakePrompt(problem: string, more: Partial<Prompt> = {}): Prompt {
  return {
    source: { file: 'train.jsonl', row: 1 },
    problem,
    images: [],
    problemType: 'OCR',
    taskType: 'ocr',
    options: [],
    answer: problem,
    extra: {},
    ...more,
  };
}

/** A prompt of letters as tokens; positions run one ahead, so that they differ from indices. */
export function encodeLetters(text: string): EncodedPrompt {
  const inputIds = Int32Array.from(text, (letter) => Math.max(0, LETTERS.indexOf(letter)));
  const positionIds = Int32Array.from({ length: 3 * inputIds.length }, (_, i) => (i % inputIds.length) + 1);
  return { inputIds, positionIds, ropeDelta: 1, images: [], visualRows: new Int32Array() };
}

/**
 * A policy whose next token depends on the last one alone: logits are a row of one matrix. It knows seven letters and a stop,
 * computes in f64, and writes down what it is asked.
 */
export function fakePolicy({
  seed = 1,
  spoil = () => false,
}: { seed?: number; spoil?: (call: number) => boolean } = {}) {
  const calls: string[] = [];
  const weight = tensor(
    Float32Array.from({ length: VOCAB * VOCAB }, (_, i) => 2 * uniform(seed, i) - 1),
    [VOCAB, VOCAB],
  );
  const gradient = tensor(new Float32Array(VOCAB * VOCAB), [VOCAB, VOCAB]);
  let sums = new Float64Array(VOCAB * VOCAB);
  let backwards = 0;

  function distribution(weights: Float32Array, token: number, temperature: number) {
    const logits = Array.from({ length: VOCAB }, (_, v) => weights[token * VOCAB + v]! / temperature);
    const largest = Math.max(...logits);
    const log = largest + Math.log(logits.reduce((sum, z) => sum + Math.exp(z - largest), 0));
    const logProbs = logits.map((z) => z - log);
    return { logProbs, entropy: -logProbs.reduce((sum, l) => sum + Math.exp(l) * l, 0) };
  }

  const score = (batch: PolicyBatch, weights: Float32Array, temperature: number) =>
    Array.from(batch.targetRows, (row, i) => {
      const token = batch.inputIds[row]!;
      const { logProbs, entropy } = distribution(weights, token, temperature);
      return { token, logProbs, logProb: logProbs[batch.targetIds[i]!]!, entropy };
    });

  const policy: TrainedPolicy = {
    config: { vision: { merge: 2 } },
    tokenizer: { decode: (ids) => Array.from(ids, (id) => LETTERS[id] ?? '').join('') },
    trained: [{ name: 'matrix', shape: [VOCAB, VOCAB], weight, gradient }],
    encode: async (parts) => encodeLetters(parts.map((part) => (part.type === 'text' ? part.text : '')).join('')),
    async submit(
      { prompt, n = 1, maxTokens, temperature = 1, seed: key = 0, step = 0, rolloutOffset = 0 },
      { signal } = {},
    ) {
      calls.push(`submit ${n}`);
      const weights = await weight.read();
      if (signal?.aborted) throw new G2rpoError('ABORTED', 'fake: stopped');
      return Array.from({ length: n }, (_, j) => {
        const [tokens, logProbs, entropies]: number[][] = [[], [], []];
        for (
          let last = prompt.inputIds.at(-1)!;
          tokens!.length < maxTokens && tokens!.at(-1) !== STOP;
          last = tokens!.at(-1)!
        ) {
          const { logProbs: all, entropy } = distribution(weights as Float32Array, last, temperature || 1);
          let left = uniform(key, step, rolloutOffset + j, tokens!.length);
          let token = temperature === 0 ? all.indexOf(Math.max(...all)) : 0;
          if (temperature > 0)
            for (; token < STOP && left >= Math.exp(all[token]!); token++) left -= Math.exp(all[token]!);
          tokens!.push(token);
          logProbs!.push(all[token]!);
          entropies!.push(entropy);
        }
        return {
          tokens: Int32Array.from(tokens!),
          logProbs: Float32Array.from(logProbs!),
          entropy: Float32Array.from(entropies!),
          finish: tokens!.at(-1) === STOP ? 'stop' : 'length',
        };
      });
    },
    async forward(batch, { temperature = 1 } = {}) {
      calls.push(`forward ${batch.targetIds.length}`);
      const scores = score(batch, (await weight.read()) as Float32Array, temperature);
      return {
        logProbs: Float32Array.from(scores, ({ logProb }) => logProb),
        entropy: Float32Array.from(scores, ({ entropy }) => entropy),
      };
    },
    async forwardBackward(batch, loss, { temperature = 1, accumulate = true } = {}) {
      calls.push(`forwardBackward ${batch.targetIds.length}`);
      if (!accumulate) sums = new Float64Array(VOCAB * VOCAB);
      const scores = score(batch, (await weight.read()) as Float32Array, temperature);
      const { kl, tau = { positive: 1, negative: 1.05 }, logProbSlopes } = loss;
      const args = {
        ...loss,
        kind: POLICY_LOSS_KINDS[loss.kind],
        tauPositive: tau.positive,
        tauNegative: tau.negative,
        klKind: KL_KINDS[kl?.kind ?? 'none'],
        refLogProbs: kl?.refLogProbs ?? [],
        klWeights: kl?.weights ?? [],
      };
      const tokens = scores.map(({ logProb }, i) => weightedLossReference(i, logProb, args));
      scores.forEach(({ token, logProbs }, i) => {
        const slope = (tokens[i]!.slope + (logProbSlopes?.[i] ?? 0)) / temperature;
        logProbs.forEach((l, v) => {
          sums[token * VOCAB + v]! += slope * (Number(v === batch.targetIds[i]) - Math.exp(l));
        });
      });
      if (spoil(++backwards)) sums[0] = Number.NaN;
      gradient.write(Float32Array.from(sums));
      return {
        logProbs: Float32Array.from(scores, ({ logProb }) => logProb),
        entropy: Float32Array.from(scores, ({ entropy }) => entropy),
        loss: Float32Array.from(tokens, (token) => token.loss),
        clipped: Int32Array.from(tokens, ({ clipped }) => clipped),
      };
    },
    save: async () => undefined,
  };
  return { policy, calls, weights: async () => new Float32Array(await weight.read()) };
}
