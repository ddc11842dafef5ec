import { join } from 'node:path';
import { besideCpu } from '../runtime/env.ts';
import { G2rpoError } from '../runtime/errors.ts';
import { native } from '../runtime/native.ts';
import { squaredNorm } from '../kernels/squaredNorm.ts';
import { Policy } from '../model/qwen3vl/policy.ts';
import type { MediaOptions } from '../model/qwen3vl/promptEncoder.ts';
import { createAverage } from './average.ts';
import type { CheckpointContent, RunCheckpoint } from './checkpoint.ts';
import type { SftConfig, TrainConfig } from './config.ts';
import { fingerprint } from './fingerprint.ts';
import { ofOneType } from './ofOneType.ts';
import { createOptimizer, type Optimizer } from './optimizer.ts';

type LoadConfig = Pick<TrainConfig, 'policy'> & { rollout: Pick<TrainConfig['rollout'], 'cacheMb'> };
type TraineeConfig = LoadConfig & Pick<TrainConfig, 'seed'> & { train: TrainConfig['train'] | SftConfig['train'] };

/** Folders of what a run was for, written at its end. */
export interface Exported {
  /** the trained policy, in bfloat16 */
  policyDir: string | undefined;
  /** the adapters that were trained, in PEFT's format, of a run with `train.lora` */
  adapterDir: string | undefined;
}
export const NOT_EXPORTED: Exported = { policyDir: undefined, adapterDir: undefined };

/** A policy with what its training needs beside it. */
export interface Trainee {
  policy: Policy;
  optimizer: Optimizer;
  /** for a checkpoint; of LoRA it keeps the adapters instead of all weights, because the base stays as it is */
  kept: CheckpointContent;
  /** Asks the policy as it is to be judged: with the averages of its weights, if these are validated. */
  judged<T>(ask: () => Promise<T>): Promise<T>;
  /** Writes what the run was for into its folder: the policy in bfloat16, with adapters merged, and these too; the average, if that is exported. */
  export(output: string): Promise<Exported>;
  dispose(): void;
}

/**
 * The engine as the environment asks for it, and a device beside the CPU where the configuration does.
 *
 * @throws INVALID_CONFIG  train.offloadOptimizer on the CPU
 * @throws NATIVE_UNAVAILABLE, BACKEND_UNAVAILABLE, INVALID_ARGUMENT  as `native`
 */
export function wantDevice({ train }: { train: { offloadOptimizer: boolean } }): void {
  native();
  if (train.offloadOptimizer && !besideCpu())
    throw new G2rpoError(
      'INVALID_CONFIG',
      "train.offloadOptimizer: on the CPU the optimizer is in the host's memory anyway; it is for a device beside it (G2RPO_DEVICE)",
    );
}

/**
 * The policy of a configuration, as it was at a checkpoint if one is given.
 *
 * @throws INVALID_CONFIG  what is to be trained does not fit the policy; train.offloadOptimizer on the CPU
 * @throws INVALID_CHECKPOINT  also where adapters were trained on a policy that has been changed since
 * @throws IO
 */
export async function openTrainee(config: TraineeConfig, found: RunCheckpoint | undefined): Promise<Trainee> {
  const { lora, freeze, only } = config.train;
  const { path, adapter } = config.policy;
  wantDevice(config);
  const options = { ...loadOptions(config), keepGradients: !config.train.optimizerInBackward };
  const policy = lora
    ? await Policy.load(path, {
        ...options,
        lora: { rank: lora.rank, alpha: lora.alpha, targets: lora.targets, seed: config.seed },
        adapter: found?.policyDir ?? adapter,
      })
    : await Policy.load(found?.policyDir ?? path, {
        ...options,
        trained: { freeze, only },
        ...(!found && { adapter }), // its change is in the weights that a checkpoint keeps
      });
  try {
    return await withState(policy, config, found);
  } catch (error) {
    policy.dispose();
    throw error;
  }
}

/** What stands beside a policy that is trained, as it was at a checkpoint if one is given. */
async function withState(policy: Policy, config: TraineeConfig, found: RunCheckpoint | undefined): Promise<Trainee> {
  const { lora } = config.train;
  const base = lora && (await fingerprint(policy.dir));
  if (found?.base !== undefined && found.base !== base) {
    throw new G2rpoError(
      'INVALID_CHECKPOINT',
      `${found.dir}: its adapters are for another policy than is now in ${config.policy.path}: the files there have changed`,
      { dir: found.dir, path: config.policy.path },
    );
  }
  const { ema } = config.train;
  const onUpdate = () => {
    average?.follow();
    policy.refresh();
  };
  const optimizer = createOptimizer(policy.trained, config.train, { onUpdate, policy });
  const average = ema && createAverage(policy.trained, ema.decay, optimizer.moved);
  const disposeState = () => {
    optimizer.dispose();
    average?.dispose();
  };
  try {
    await found?.restoreOptimizer(optimizer);
    if (average) await found?.restoreAverage(average.state);
  } catch (error) {
    disposeState();
    throw error;
  }
  const exchange = () => {
    average?.exchange();
    policy.refresh();
  };
  const averaged = async <T>(wanted: boolean | undefined, use: () => Promise<T>): Promise<T> => {
    if (!wanted) return use();
    exchange();
    try {
      return await use();
    } finally {
      exchange();
    }
  };
  const saved = lora ? policy.trained : policy.parameters;
  return {
    policy,
    optimizer,
    kept: {
      policy: {
        bytes: saved.reduce((sum, { weight }) => sum + 4 * weight.size, 0),
        async save(dir, options) {
          await wantFinite(policy);
          return lora ? policy.saveAdapter(dir) : policy.save(dir, options);
        },
      },
      optimizer,
      ...(average && { average: average.state }),
      ...(base !== undefined && { base }),
    },
    judged: (ask) => averaged(ema?.validate, ask),
    export: (output) =>
      averaged(ema?.export, async () => {
        await wantFinite(policy);
        const policyDir = join(output, 'policy');
        const adapterDir = lora && join(output, 'adapter');
        await policy.save(policyDir, { dtype: 'bfloat16' });
        if (adapterDir) await policy.saveAdapter(adapterDir);
        return { policyDir, adapterDir };
      }),
    dispose() {
      disposeState();
      policy.dispose();
    },
  };
}

/** @throws NON_FINITE  the weights, changes of LoRA included, are such as nobody would want to keep */
async function wantFinite(policy: Policy): Promise<void> {
  const weights = new Set([...policy.parameters, ...policy.trained].map(({ weight }) => weight));
  let total = 0;
  for (const kind of ofOneType([...weights], (weight) => weight)) {
    using sum = squaredNorm({ x: kind.map((weight) => weight.reshape([weight.size])) }).sum;
    total += (await sum.read())[0]!;
  }
  if (Number.isFinite(total)) return;
  throw new G2rpoError(
    'NON_FINITE',
    'the weights are no longer finite: the training has diverged. They are not saved; what was saved before stays as it is. Try a lower ' +
      'train.learningRate, or train.maxGradNorm, from there',
  );
}

/** A policy to be asked, not trained: without gradients. */
export function loadPolicy(config: LoadConfig): Promise<Policy> {
  const { path, adapter } = config.policy;
  return Policy.load(path, { ...loadOptions(config), adapter, trained: false });
}

/** How a policy is loaded, whatever becomes of it. */
const loadOptions = ({ policy, rollout: { cacheMb } }: LoadConfig) => ({
  ...mediaOptions(policy),
  ...{ dtype: policy.weights, engine: { cacheMb } },
});

/** What of a policy's configuration says how pictures and videos are read. */
export const mediaOptions = ({ minPixels, maxPixels, video }: TrainConfig['policy']): MediaOptions => ({
  ...(minPixels && { minPixels }),
  ...(maxPixels && { maxPixels }),
  video,
});
