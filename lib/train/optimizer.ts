import { squaredNorm } from '../kernels/squaredNorm.ts';
import type { ParameterUpdate } from '../model/qwen3vl/parameterUpdate.ts';
import { G2rpoError } from '../runtime/errors.ts';
import type { Tensor } from '../runtime/tensor.ts';
import { flat, mastersOf, narrowMoments, wideMoments } from './moments.ts';
import { ofOneType } from './ofOneType.ts';

/** What the optimizer changes: the policy's parameters. */
export interface TrainableParameter {
  name: string;
  weight: Tensor<'f32' | 'f64' | 'bf16'>;
  /** undefined where the backward pass makes the update */
  gradient: Tensor<'f32' | 'f64'> | undefined;
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
  /** gradients are not kept: the backward pass makes each update itself; default false */
  optimizerInBackward?: boolean;
  /** what it keeps is in the host's memory beside an accelerator, and comes to the device piece by piece in an update; default false */
  offloadOptimizer?: boolean;
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
  /** What the backward pass is to be given, if it makes the updates: the next one. */
  inBackward(learningRate: number): ParameterUpdate | undefined;
  /**
   * One update from the gradients as they are; zeroing them is the caller's. Where the backward pass has made the update, what is left to do behind it.
   *
   * @param squaredNorm  of the gradients, as the backward pass has told that made the update
   */
  step(learningRate: number, squaredNorm?: number): Promise<OptimizerStep>;
  /** For resuming: the state has been written into, and so many updates were made. */
  restore(updates: number): void;
  dispose(): void;
}

/**
 * @param policy  whose parameters they are: makes the updates where what the optimizer keeps is in the host's memory
 * @param onUpdate  called after every update that was not skipped, for what follows the weights
 */
export function createOptimizer(
  parameters: readonly TrainableParameter[],
  config: OptimizerConfig,
  { onUpdate, policy }: { onUpdate?: () => void; policy?: { update(update: ParameterUpdate): Promise<void> } } = {},
): Optimizer {
  const { betas, epsilon, weightDecay, maxGradNorm, optimizer = 'adamw', masterWeights = false } = config;
  const { optimizerInBackward = false, offloadOptimizer = false } = config;
  if (offloadOptimizer && !optimizerInBackward && !policy)
    throw new G2rpoError('INVALID_ARGUMENT', 'offloadOptimizer: the policy is missing, which makes the updates');
  if (optimizerInBackward && maxGradNorm > 0)
    throw new G2rpoError(
      'INVALID_ARGUMENT',
      `maxGradNorm must be 0 with optimizerInBackward: the norm of all gradients is known when they have been used; got ${maxGradNorm}`,
    );
  const gradients = optimizerInBackward ? [] : parameters.map(({ gradient }) => flat(gradient!));
  const masters = masterWeights ? mastersOf(parameters, offloadOptimizer) : undefined;
  const moved = parameters.map(({ weight }, k) => masters?.of(k) ?? flat(weight));
  const groups = ofOneType([...moved.keys()], (k) => moved[k]!).map((places) => {
    const make = optimizer === 'adamw8bit' ? narrowMoments : wideMoments;
    return { places, moments: make(pick(moved, places), offloadOptimizer) };
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
  const [beta1, beta2] = betas;
  const scalarsOf = (learningRate: number, step: number) => ({
    learningRate,
    beta1,
    beta2,
    epsilon,
    weightDecay,
    step,
  });

  /** One that the engine makes. */
  function updateOf(learningRate: number, step: number, gradientScale: number): ParameterUpdate {
    const tensors = parameters.map((_, k) => {
      const { places, moments } = groups.find((group) => group.places.includes(k))!;
      const place = places.indexOf(k);
      return { place, master: masters?.of(k), moments: Object.values(moments.lists).map((list) => list[place]!) };
    });
    return { ...scalarsOf(learningRate, step), gradientScale, tensors };
  }

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
    inBackward: (learningRate) => (optimizerInBackward ? updateOf(learningRate, updates + 1, 1) : undefined),
    async step(learningRate, squaredNorm) {
      if (optimizerInBackward && squaredNorm === undefined)
        throw new G2rpoError('INVALID_ARGUMENT', 'step: the backward pass makes the updates; it has made none');
      const gradNorm = squaredNorm === undefined ? await globalNorm() : Math.sqrt(squaredNorm);
      if (!Number.isFinite(gradNorm)) return { gradNorm, skipped: true };
      if (!optimizerInBackward) {
        const gradientScale = maxGradNorm > 0 && gradNorm > maxGradNorm ? maxGradNorm / gradNorm : 1;
        const step = updates + 1;
        if (offloadOptimizer) await policy!.update(updateOf(learningRate, step, gradientScale));
        else {
          for (const { places, moments } of groups)
            moments.update(pick(gradients, places), { ...scalarsOf(learningRate, step), gradientScale });
          masters?.round();
        }
      }
      updates++;
      onUpdate?.();
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

const pick = <T>(list: readonly T[], places: readonly number[]): T[] => places.map((k) => list[k]!);
