import { ema, emaExchange } from '../kernels/ema.ts';
import { zeros } from '../runtime/tensor.ts';
import type { StateTensor, TrainableParameter } from './optimizer.ts';

/** A moving average of weights. */
export interface Average {
  /** for a checkpoint: a tensor for every parameter, by its name */
  readonly state: readonly StateTensor[];
  /** Moves towards the weights as they are now. */
  follow(): void;
  /** Weights and averages change places; done again, everything is as it was, to the bit. */
  exchange(): void;
  dispose(): void;
}

/**
 * An exponential moving average of what is trained, beginning at the weights as they are.
 *
 *   average ← average + (1 − decay)·(weight − average)      after every update
 */
export function createAverage(parameters: readonly TrainableParameter[], decay: number): Average {
  const values = parameters.map(({ weight }) => weight.reshape([weight.size]));
  const averages = values.map(({ dtype, shape }) => zeros(dtype, shape));
  const move = (share: number) => void ema({ values, averages, decay: share });
  move(0);
  return {
    state: parameters.map(({ name }, k) => ({ name, tensor: averages[k]! })),
    follow: () => move(decay),
    exchange: () => void emaExchange({ a: values, b: averages }),
    dispose() {
      for (const average of averages) average.dispose();
    },
  };
}
