import { expect, it } from 'vitest';
import { Policy } from '../../../lib/model/qwen3vl/policy.ts';
import { writeGoldenCheckpoint } from '../../support/syntheticCheckpoint.ts';

const ROWS = 32_768;

it('32,768 rows are scored, and answered with tokens of the same log-probabilities', { timeout: 120_000 }, async () => {
  using policy = await Policy.load(await writeGoldenCheckpoint('nano'), { trained: false });
  const text = Int32Array.from({ length: ROWS }, (_, i) => 5 + ((i * 7) % 200));
  const positionsOf = (rows: number) => Int32Array.from({ length: 3 * rows }, (_, i) => i % rows);
  const none = { images: [], visualRows: new Int32Array() };
  const prompt = { inputIds: text, positionIds: positionsOf(ROWS), ropeDelta: 0, ...none };
  const [response] = await policy.submit({ prompt, maxTokens: 2, stopIds: [], seed: 3 });
  const { tokens, logProbs } = response!;
  expect(tokens).toHaveLength(2);
  const scores = await policy.forward({
    ...{ inputIds: Int32Array.of(...text, tokens[0]!), positionIds: positionsOf(ROWS + 1) },
    ...{ segmentStarts: Int32Array.of(0, ROWS + 1), segmentPrefix: Int32Array.of(-1), visualSource: new Int32Array() },
    ...{ targetRows: Int32Array.of(ROWS - 1, ROWS), targetIds: tokens, ...none },
  });
  scores.logProbs.forEach((logProb, i) => expect(Math.abs(logProb - logProbs[i]!)).toBeLessThan(1e-4)); // as in policyGenerate.test.ts
});
