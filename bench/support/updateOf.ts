import type { Policy, PolicyBatch, Recompute } from '../../lib/model/qwen3vl/policy.ts';
import { createOptimizer, type OptimizerConfig } from '../../lib/train/optimizer.ts';

/** One update after another of plain PPO on the same batch, of responses of one length. */
export function updateOf(
  policy: Policy,
  batch: PolicyBatch,
  response: number,
  options: { optimizer?: 'adamw' | 'adamw8bit'; recompute?: Recompute; inBackward?: boolean; offload?: boolean } = {},
) {
  const N = batch.targetIds.length;
  const settings: OptimizerConfig = {
    optimizer: options.optimizer ?? 'adamw',
    betas: [0.9, 0.999],
    epsilon: 1e-8,
    weightDecay: 0.01,
    maxGradNorm: options.inBackward ? 0 : 1,
    optimizerInBackward: options.inBackward ?? false,
    offloadOptimizer: options.offload ?? false,
  };
  const optimizer = createOptimizer(policy.trained, settings, { policy });
  const loss = {
    ...({ kind: 'ppo', clipLow: 0.2, clipHigh: 0.28, clipDual: 0 } as const),
    advantages: Float32Array.from({ length: N }, (_, i) => (2 * Math.floor(i / response) * response) / N - 1),
    weights: new Float32Array(N).fill(1 / N),
    entropySlopes: new Float32Array(N).fill(-1e-3 / N),
  };
  const update = async () => {
    const made = optimizer.inBackward(0);
    const { recompute = 'none' } = options;
    const { squaredNorm } = await policy.forwardBackward(batch, loss, { recompute, accumulate: false, update: made });
    await optimizer.step(0, squaredNorm); // as the peer: the weights stay, and both go on computing the same numbers
    await policy.parameters.at(-1)!.weight.read(); // kernels are enqueued: waits for the last of them
  };
  return Object.assign(update, { dispose: () => optimizer.dispose() });
}
