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

/** Both moments of a parameter. */
export interface Moments {
  name: string;
  first: Tensor<'f32' | 'f64'>;
  second: Tensor<'f32' | 'f64'>;
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
  readonly moments: readonly Moments[];
  /** One update from the gradients as they are; zeroing them is the caller's. */
  step(learningRate: number): Promise<OptimizerStep>;
  /** For resuming: the moments have been written into, and so many updates were made. */
  restore(updates: number): void;
  dispose(): void;
}

export function createOptimizer(parameters: readonly TrainableParameter[], config: OptimizerConfig): Optimizer {
  const { betas, epsilon, weightDecay, maxGradNorm } = config;
  const flat = parameters.map(({ name, weight, gradient }) => {
    const size = [weight.size];
    return {
      name,
      parameter: weight.reshape(size),
      gradient: gradient.reshape(size),
      first: zeros(weight.dtype, size),
      second: zeros(weight.dtype, size),
    };
  });
  let updates = 0;

  /** Squares are added in f64, tensor by tensor in the order of the parameters. */
  async function globalNorm(): Promise<number> {
    const sums = await Promise.all(
      flat.map(async ({ gradient }) => {
        using sum = squaredNorm({ x: gradient }).sum;
        return (await sum.read())[0]!;
      }),
    );
    return Math.sqrt(sums.reduce((total, s) => total + s, 0));
  }

  return {
    get updates() {
      return updates;
    },
    moments: flat.map(({ name, first, second }) => ({ name, first, second })),
    async step(learningRate) {
      const gradNorm = await globalNorm();
      if (!Number.isFinite(gradNorm)) return { gradNorm, skipped: true };
      updates++;
      const gradientScale = maxGradNorm > 0 && gradNorm > maxGradNorm ? maxGradNorm / gradNorm : 1;
      for (const { parameter, gradient, first, second } of flat)
        adamw({
          gradient,
          parameter,
          firstMoment: first,
          secondMoment: second,
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
      for (const { first, second } of flat) {
        first.dispose();
        second.dispose();
      }
    },
  };
}
