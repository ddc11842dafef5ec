import { adamw } from '../kernels/adamw.ts';
import { adamw8bit, SCALED_ELEMENTS } from '../kernels/adamw8bit.ts';
import { ema } from '../kernels/ema.ts';
import { roundBf16 } from '../kernels/roundBf16.ts';
import { realOf } from '../model/qwen3vl/parameter.ts';
import { keepOnHost, zeros, zerosOnHost, type Tensor } from '../runtime/tensor.ts';
import type { StateTensor, TrainableParameter } from './optimizer.ts';

type Reals = readonly Tensor<'f32' | 'f64'>[];
type Weights = readonly Tensor<'f32' | 'f64' | 'bf16'>[];
type Scalars = Record<
  'learningRate' | 'beta1' | 'beta2' | 'epsilon' | 'weightDecay' | 'step' | 'gradientScale',
  number
>;

/** Where the moments are kept, and the kernel that knows them. */
export interface Moments {
  lists: Record<string, readonly StateTensor['tensor'][]>;
  update(gradients: Reals, scalars: Scalars): void;
}

/** Where they are: on the device, or in the host's memory. */
const room = (offload: boolean) => (offload ? zerosOnHost : zeros);

/** In reals. */
export function wideMoments(parameters: Weights, offload: boolean): Moments {
  const same = () => parameters.map((parameter) => room(offload)(realOf(parameter), parameter.shape));
  const [first, second] = [same(), same()];
  return {
    lists: { first, second },
    update: (gradients, scalars) =>
      void adamw({ gradients, parameters, firstMoments: first, secondMoments: second, ...scalars }),
  };
}

/** In 8 bits. */
export function narrowMoments(parameters: Weights, offload: boolean): Moments {
  const codes = () => parameters.map(({ shape }) => room(offload)('u8', shape));
  const scales = () => parameters.map(({ size }) => room(offload)('f32', [Math.ceil(size / SCALED_ELEMENTS)]));
  const lists = { first: codes(), second: codes(), firstScales: scales(), secondScales: scales() };
  const { first: firstCodes, second: secondCodes, firstScales, secondScales } = lists;
  return {
    lists,
    update: (gradients, scalars) =>
      void adamw8bit({ gradients, parameters, firstCodes, secondCodes, firstScales, secondScales, ...scalars }),
  };
}

export const flat = <D extends Tensor['dtype']>(tensor: Tensor<D>): Tensor<D> => tensor.reshape([tensor.size]);

/** Copies in f32 of the weights that are bf16. */
export function mastersOf(parameters: readonly TrainableParameter[], offload: boolean) {
  const all = parameters.flatMap(({ name, weight }, k) =>
    weight.dtype === 'bf16' ? [{ k, name, rounded: flat(weight), master: room(offload)('f32', [weight.size]) }] : [],
  );
  const [averages, rounded] = [all.map(({ master }) => master), all.map((each) => each.rounded)];
  if (!offload && all.length > 0) ema({ values: rounded, averages, decay: 0 }); // the values themselves
  if (offload)
    for (const { rounded: weight, master } of all) {
      using wide = zeros('f32', weight.shape);
      ema({ values: [weight], averages: [wide], decay: 0 });
      keepOnHost(master, wide);
    }
  return {
    state: all.map(({ name, master }): StateTensor => ({ name: `${name}.master`, tensor: master })),
    of: (k: number) => all.find((each) => each.k === k)?.master,
    round: () => void (all.length > 0 && roundBf16({ values: averages, rounded })),
  };
}
