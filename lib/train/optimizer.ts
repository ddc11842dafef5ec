import { adamw } from '../kernels/adamw.ts';
import { squaredNorm } from '../kernels/squaredNorm.ts';
import { zeros, type Tensor } from '../runtime/tensor.ts';

/** What the optimizer changes: the policy's parameters. */
export interface TrainableParameter {
  name: string;
  weight: Tensor<'f32' | 'f64'>;
  gradient: Tensor<'f32' | 'f64'>;
}

export interface OptimizerConfig {
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
  /** moments of every parameter: `<name>.first`, `<name>.second` */
  readonly state: readonly StateTensor[];
  /** One update from the gradients as they are; zeroing them is the caller's. */
  step(learningRate: number): Promise<OptimizerStep>;
  /** For resuming: the state has been written into, and so many updates were made. */
  restore(updates: number): void;
  dispose(): void;
}

export function createOptimizer(parameters: readonly TrainableParameter[], config: OptimizerConfig): Optimizer {
  const { betas, epsilon, weightDecay, maxGradNorm } = config;
  const flat = (of: (parameter: TrainableParameter) => Tensor<'f32' | 'f64'>) =>
    parameters.map((parameter) => of(parameter).reshape([parameter.weight.size]));
  const [weights, gradients] = [flat(({ weight }) => weight), flat(({ gradient }) => gradient)];
  const firstMoments = weights.map(({ dtype, shape }) => zeros(dtype, shape));
  const secondMoments = weights.map(({ dtype, shape }) => zeros(dtype, shape));
  let updates = 0;

  async function globalNorm(): Promise<number> {
    using sum = squaredNorm({ x: gradients }).sum;
    return Math.sqrt((await sum.read())[0]!);
  }

  return {
    get updates() {
      return updates;
    },
    state: parameters.flatMap(({ name }, k) => [
      { name: `${name}.first`, tensor: firstMoments[k]! },
      { name: `${name}.second`, tensor: secondMoments[k]! },
    ]),
    async step(learningRate) {
      const gradNorm = await globalNorm();
      if (!Number.isFinite(gradNorm)) return { gradNorm, skipped: true };
      updates++;
      const gradientScale = maxGradNorm > 0 && gradNorm > maxGradNorm ? maxGradNorm / gradNorm : 1;
      adamw({
        gradients,
        parameters: weights,
        firstMoments,
        secondMoments,
        learningRate,
        beta1: betas[0],
        beta2: betas[1],
        epsilon,
        weightDecay,
        step: updates,
        gradientScale,
      });
      return { gradNorm, skipped: false };
    },
    restore(made) {
      updates = made;
    },
    dispose() {
      for (const moment of [...firstMoments, ...secondMoments]) moment.dispose();
    },
  };
}
