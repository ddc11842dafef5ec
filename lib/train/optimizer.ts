import { adamw } from '../kernels/adamw.ts';
import { adamw8bit, SCALED_ELEMENTS } from '../kernels/adamw8bit.ts';
import { squaredNorm } from '../kernels/squaredNorm.ts';
import { zeros, type Tensor } from '../runtime/tensor.ts';

/** What the optimizer changes: the policy's parameters. */
export interface TrainableParameter {
  name: string;
  weight: Tensor<'f32' | 'f64'>;
  gradient: Tensor<'f32' | 'f64'>;
}

export interface OptimizerConfig {
  /** moments in f32, or in 8 bits; default adamw */
  optimizer?: 'adamw' | 'adamw8bit';
  betas: readonly [number, number];
  epsilon: number;
  weightDecay: number;
  /** gradients are scaled down to this global norm; 0 leaves them */
  maxGradNorm: number;
}

/** A tensor that a checkpoint keeps beside the weights. */
export interface StateTensor {
  name: string;
  tensor: Tensor<'f32' | 'f64' | 'u8'>;
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
  /** moments of every parameter: `<name>.first`, `<name>.second`; of 8 bits also their scales */
  readonly state: readonly StateTensor[];
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
  const { betas, epsilon, weightDecay, maxGradNorm, optimizer = 'adamw' } = config;
  const flat = (of: (parameter: TrainableParameter) => Tensor<'f32' | 'f64'>) =>
    parameters.map((parameter) => of(parameter).reshape([parameter.weight.size]));
  const [weights, gradients] = [flat(({ weight }) => weight), flat(({ gradient }) => gradient)];
  const moments = optimizer === 'adamw8bit' ? narrowMoments(weights, gradients) : wideMoments(weights, gradients);
  const state = parameters.flatMap(({ name }, k) =>
    Object.entries(moments.lists).map(([part, list]) => ({ name: `${name}.${part}`, tensor: list[k]! })),
  );
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
    async step(learningRate) {
      const gradNorm = await globalNorm();
      if (!Number.isFinite(gradNorm)) return { gradNorm, skipped: true };
      updates++;
      const gradientScale = maxGradNorm > 0 && gradNorm > maxGradNorm ? maxGradNorm / gradNorm : 1;
      const [beta1, beta2] = betas;
      moments.update({ learningRate, beta1, beta2, epsilon, weightDecay, step: updates, gradientScale });
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

type Reals = readonly Tensor<'f32' | 'f64'>[];
type Scalars = Record<
  'learningRate' | 'beta1' | 'beta2' | 'epsilon' | 'weightDecay' | 'step' | 'gradientScale',
  number
>;

/** Where the moments are kept, and the kernel that knows them. */
interface Moments {
  lists: Record<string, readonly StateTensor['tensor'][]>;
  update(scalars: Scalars): void;
}

function wideMoments(parameters: Reals, gradients: Reals): Moments {
  const same = () => parameters.map(({ dtype, shape }) => zeros(dtype, shape));
  const [first, second] = [same(), same()];
  return {
    lists: { first, second },
    update: (scalars) => void adamw({ gradients, parameters, firstMoments: first, secondMoments: second, ...scalars }),
  };
}

function narrowMoments(parameters: Reals, gradients: Reals): Moments {
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
