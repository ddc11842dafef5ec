import { ema, emaExchange } from '../kernels/ema.ts';
import { roundBf16 } from '../kernels/roundBf16.ts';
import { zeros, type Tensor } from '../runtime/tensor.ts';
import { ofOneType } from './ofOneType.ts';
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
 *
 * Of weights in bf16 it is f32; in their place it is rounded to the nearest, and they are kept aside meanwhile.
 *
 * @param followed  what the average is of, where that is not the weights themselves but masters of them
 */
export function createAverage(
  parameters: readonly TrainableParameter[],
  decay: number,
  followed: readonly Tensor<'f32' | 'f64' | 'bf16'>[] = parameters.map(({ weight }) => weight),
): Average {
  const all = parameters.map(({ weight }, k) => {
    const value = followed[k]!.reshape([weight.size]);
    const average = zeros(value.dtype === 'bf16' ? 'f32' : value.dtype, value.shape);
    return { value, weight: weight.reshape([weight.size]), average };
  });
  const groups = ofOneType(all, ({ value }) => value);
  const move = (share: number) => {
    for (const group of groups)
      ema({ values: group.map(({ value }) => value), averages: group.map(({ average }) => average), decay: share });
  };
  move(0);
  const narrow = all.filter(({ weight }) => weight.dtype === 'bf16');
  const wide = all.filter(({ weight }) => weight.dtype !== 'bf16');
  let aside: Tensor<'bf16'>[] | undefined;

  function exchangeNarrow(): void {
    const back = aside;
    const other = (back ?? narrow.map(({ weight }) => zeros('bf16', weight.shape))) as Tensor<'bf16'>[];
    if (!back) roundBf16({ values: narrow.map(({ average }) => average), rounded: other });
    emaExchange({ a: narrow.map(({ weight }) => weight), b: other });
    for (const tensor of back ?? []) tensor.dispose();
    aside = back ? undefined : other;
  }

  return {
    state: parameters.map(({ name }, k) => ({ name, tensor: all[k]!.average })),
    follow: () => move(decay),
    exchange() {
      if (wide.length > 0) emaExchange({ a: wide.map(({ weight }) => weight), b: wide.map(({ average }) => average) });
      if (narrow.length > 0) exchangeNarrow();
    },
    dispose() {
      for (const tensor of [...all.map(({ average }) => average), ...(aside ?? [])]) tensor.dispose();
    },
  };
}
