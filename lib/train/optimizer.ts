import { adamw } from '../kernels/adamw.ts';
import { adamw8bit, SCALED_ELEMENTS } from '../kernels/adamw8bit.ts';
import { ema } from '../kernels/ema.ts';
import { roundBf16 } from '../kernels/roundBf16.ts';
import { squaredNorm } from '../kernels/squaredNorm.ts';
import { zeros, type Tensor } from '../runtime/tensor.ts';
import { ofOneType } from './ofOneType.ts';

/** What the optimizer changes: the policy's parameters. */
export interface TrainableParameter {
  name: string;
  weight: Tensor<'f32' | 'f64' | 'bf16'>;
  gradient: Tensor<'f32' | 'f64'>;
}

export interface OptimizerConfig {
  /** moments in f32, or in 8 bits; default adamw */
  optimizer?: 'adamw' | 'adamw8bit';
  betas: readonly [number, number];
  epsilon: number;
  weightDecay: number;
  /**
   * where weights are bf16, the optimizer keeps and moves them in f32, and rounds them to the nearest after every update; default
   * false: they are moved as they are, and rounded at random
   */
  masterWeights?: boolean;
  /** gradients are scaled down to this global norm; 0 leaves them */
  maxGradNorm: number;
}

/** A tensor that a checkpoint keeps beside the weights. */
export interface StateTensor {
  name: string;
  tensor: Tensor<'f32' | 'f64' | 'u8' | 'bf16'>;
}

export interface OptimizerStep {
  /** global norm of the gradients before clipping */
  gradNorm: number;
  /** the norm was not finite: nothing was changed */
  skipped: boolean;
}

/** AdamW over all parameters, with clipping by the global norm. */
export interface Optimizer {
  /** updates made so far; the bias correction depends on it */
  readonly updates: number;
  /** moments of every parameter: `<name>.first`, `<name>.second`; of 8 bits also their scales; `<name>.master` where there is one */
  readonly state: readonly StateTensor[];
  /** what it moves: of every parameter its weight, or the master of it */
  readonly moved: readonly Tensor<'f32' | 'f64' | 'bf16'>[];
  /** One update from the gradients as they are; zeroing them is the caller's. */
  step(learningRate: number): Promise<OptimizerStep>;
  /** For resuming: the state has been written into, and so many updates were made. */
  restore(updates: number): void;
  dispose(): void;
}

/** @param onUpdate  called after every update that was not skipped, for what follows the weights */
export function createOptimizer(
  parameters: readonly TrainableParameter[],
  config: OptimizerConfig,
  onUpdate: () => void = () => undefined,
): Optimizer {
  const { betas, epsilon, weightDecay, maxGradNorm, optimizer = 'adamw', masterWeights = false } = config;
  const gradients = parameters.map(({ gradient }) => flat(gradient));
  const masters = masterWeights ? mastersOf(parameters) : undefined;
  const moved = parameters.map(({ weight }, k) => masters?.of(k) ?? flat(weight));
  const groups = ofOneType([...moved.keys()], (k) => moved[k]!).map((places) => {
    const make = optimizer === 'adamw8bit' ? narrowMoments : wideMoments;
    return { places, moments: make(pick(moved, places), pick(gradients, places)) };
  });
  const state: StateTensor[] = groups.flatMap(({ places, moments }) =>
    places.flatMap((k, at) =>
      Object.entries(moments.lists).map(([part, list]) => ({
        name: `${parameters[k]!.name}.${part}`,
        tensor: list[at]!,
      })),
    ),
  );
  state.push(...(masters?.state ?? []));
  let updates = 0;

  async function globalNorm(): Promise<number> {
    using sum = squaredNorm({ x: gradients }).sum;
    return Math.sqrt((await sum.read())[0]!);
  }

  return {
    get updates() {
      return updates;
    },
    state,
    moved,
    async step(learningRate) {
      const gradNorm = await globalNorm();
      if (!Number.isFinite(gradNorm)) return { gradNorm, skipped: true };
      updates++;
      const gradientScale = maxGradNorm > 0 && gradNorm > maxGradNorm ? maxGradNorm / gradNorm : 1;
      const [beta1, beta2] = betas;
      for (const { moments } of groups)
        moments.update({ learningRate, beta1, beta2, epsilon, weightDecay, step: updates, gradientScale });
      masters?.round();
      onUpdate();
      return { gradNorm, skipped: false };
    },
    restore(made) {
      updates = made;
    },
    dispose() {
      for (const { tensor } of state) tensor.dispose();
    },
  };
}

const flat = <D extends Tensor['dtype']>(tensor: Tensor<D>) => tensor.reshape([tensor.size]);
const pick = <T>(list: readonly T[], places: readonly number[]): T[] => places.map((k) => list[k]!);

/** Copies in f32 of the weights that are bf16. */
function mastersOf(parameters: readonly TrainableParameter[]) {
  const all = parameters.flatMap(({ name, weight }, k) =>
    weight.dtype === 'bf16' ? [{ k, name, rounded: flat(weight), master: zeros('f32', [weight.size]) }] : [],
  );
  const [averages, rounded] = [all.map(({ master }) => master), all.map((each) => each.rounded)];
  if (all.length > 0) ema({ values: rounded, averages, decay: 0 }); // the values themselves
  return {
    state: all.map(({ name, master }): StateTensor => ({ name: `${name}.master`, tensor: master })),
    of: (k: number) => all.find((each) => each.k === k)?.master,
    round: () => void (all.length > 0 && roundBf16({ values: averages, rounded })),
  };
}

type Reals = readonly Tensor<'f32' | 'f64'>[];
type Weights = readonly Tensor<'f32' | 'f64' | 'bf16'>[];
type Scalars = Record<
  'learningRate' | 'beta1' | 'beta2' | 'epsilon' | 'weightDecay' | 'step' | 'gradientScale',
  number
>;

/** Where the moments are kept, and the kernel that knows them. */
interface Moments {
  lists: Record<string, readonly StateTensor['tensor'][]>;
  update(scalars: Scalars): void;
}

function wideMoments(parameters: Weights, gradients: Reals): Moments {
  const same = () => gradients.map(({ dtype, shape }) => zeros(dtype, shape));
  const [first, second] = [same(), same()];
  return {
    lists: { first, second },
    update: (scalars) => void adamw({ gradients, parameters, firstMoments: first, secondMoments: second, ...scalars }),
  };
}

function narrowMoments(parameters: Weights, gradients: Reals): Moments {
  const codes = () => parameters.map(({ shape }) => zeros('u8', shape));
  const scales = () => parameters.map(({ size }) => zeros('f32', [Math.ceil(size / SCALED_ELEMENTS)]));
  const lists = { first: codes(), second: codes(), firstScales: scales(), secondScales: scales() };
  const { first: firstCodes, second: secondCodes, firstScales, secondScales } = lists;
  return {
    lists,
    update: (scalars) =>
      void adamw8bit({ gradients, parameters, firstCodes, secondCodes, firstScales, secondScales, ...scalars }),
  };
}
