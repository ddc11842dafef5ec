import type { ModelConfig } from './config.ts';
import { isExpert } from './expertLayout.ts';
import { eachWord } from './randomStream.ts';
import { elementCount, tensorNames } from './tensorNames.ts';
import type { NamedTensor } from './writeCheckpoint.ts';

/**
 * Weights of an untrained model, one tensor at a time, in file order.
 *
 *   matrices             N(0, 1 / fan_in), those that write to a residual stream times (2 · depth)^-½ of their tower
 *   token embeddings     N(0, 0.05²), and so the head if untied: tied and untied start with logits of one scale
 *   position table       N(0, 0.3²)
 *   norms 1, biases 0
 *
 * A tensor is a pure function of seed, name and shape. The usual deviation of 0.02 everywhere would leave the vision tower
 * of a small model nearly invisible to its text layers.
 */
export function* initialWeights(config: ModelConfig, seed: number): Generator<NamedTensor> {
  for (const { name, shape } of tensorNames(config)) {
    const data = new Float32Array(elementCount(shape));
    if (shape.length === 1) data.fill(name.endsWith('.bias') ? 0 : 1);
    else fillNormal(data, `init/${seed}/${name}`, deviation(name, shape, config));
    yield { name, shape, data };
  }
}

function deviation(name: string, shape: number[], { text, vision }: ModelConfig): number {
  if (name.endsWith('embed_tokens.weight') || name === 'lm_head.weight') return 0.05;
  if (name.endsWith('pos_embed.weight')) return 0.3;
  const fanIn = isExpert(name) ? shape[1]! : elementCount(shape.slice(1));
  const writesToText = /language_model\..*\.(o_proj\.weight|down_proj(\.weight)?)$/.test(name);
  const writesToVision = /visual\.blocks\..*\.(proj|linear_fc2)\.weight$/.test(name);
  const depth = writesToText ? text.layers : writesToVision ? vision.depth : 0.5;
  return 1 / Math.sqrt(fanIn * 2 * depth);
}

/** Box-Muller: the two halves of one word give two normal numbers. */
function fillNormal(out: Float32Array, stream: string, deviation: number): void {
  eachWord(stream, Math.ceil(out.length / 2), (i, high, low) => {
    const radius = deviation * Math.sqrt(-2 * Math.log((high + 0.5) / 2 ** 32));
    const angle = 2 * Math.PI * (low / 2 ** 32);
    out[2 * i] = radius * Math.cos(angle);
    if (2 * i + 1 < out.length) out[2 * i + 1] = radius * Math.sin(angle);
  });
}
