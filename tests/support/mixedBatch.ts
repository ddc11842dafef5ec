import { packSequences, type GoldenSequence } from '../../scripts/golden/model/sequences.ts';
import type { ModelConfig } from '../../lib/model/qwen3vl/config.ts';
import type { PolicyBatch } from '../../lib/model/qwen3vl/policy.ts';
import type { TokenLoss } from '../../lib/types.ts';
import { goldenJson } from './goldenModel.ts';

/** Images, a video and text only in one packed batch of a golden checkpoint. */
export const mixedBatch = (checkpoint: string, cases: string[], config: ModelConfig): PolicyBatch =>
  packSequences(
    cases.flatMap((name) => goldenJson<{ sequences: GoldenSequence[] }>(`cases/${checkpoint}/${name}.json`).sequences),
    config,
  );

/** A list of n numbers, for each frequency another. */
export const waves = (n: number, frequency: number, size = 1): Float64Array =>
  Float64Array.from({ length: n }, (_, i) => size * Math.sin(frequency * i + 1));

/** A loss that pulls every token its own way. */
export function wavyLoss(batch: PolicyBatch): TokenLoss<Float64Array> {
  const n = batch.targetIds.length;
  return {
    kind: 'reinforce',
    oldLogProbs: new Float64Array(n),
    advantages: waves(n, 3),
    weights: new Float64Array(n).fill(1 / n),
    entropySlopes: waves(n, 1, 1 / n),
    clipLow: 0.2,
    clipHigh: 0.2,
    clipDual: 0,
  };
}
