import { G2rpoError } from '../../runtime/errors.ts';
import { tensor, zeros } from '../../runtime/tensor.ts';
import type { Checkpoint } from './checkpoint.ts';
import { adapt, initialLora, loraTargets, matrixOf, mergeForever, type Adapter, type LoraOptions } from './lora.ts';
import { isMatrix, realTensor, type Parameter, type TrainedParameter } from './parameter.ts';
import { readPeft, type PeftAdapter } from './peft.ts';
import { ReadBuffer } from './safetensors.ts';
import { tensorNames } from './tensorNames.ts';
import { trainedNames, type TrainedNames } from './trained.ts';

export interface ParameterOptions {
  /** arithmetic and weights; f64 is slow and for judging gradients. Of bf16 matrices are kept so, and all arithmetic is f32. */
  dtype?: 'f32' | 'f64' | 'bf16';
  /** which parameters are trained: all, none, or by name; what is not has no gradient, and no backward is made for it */
  trained?: boolean | TrainedNames;
  /**
   * whether there is room for all gradients at once; default true. False where `forwardBackward` is always given an update, which uses each
   * gradient as soon as it is finished
   */
  keepGradients?: boolean;
  /** trains low-rank changes of some matrices instead */
  lora?: LoraOptions | undefined;
  /** folder of an adapter in PEFT's format: added to the weights, or where `lora` is given, trained on */
  adapter?: string | undefined;
}

/** The weights of a policy, and what of them is trained. */
export interface ParameterSet {
  /** all weights, as the policy computes with them */
  parameters: Parameter[];
  trained: TrainedParameter[];
  adapters: Adapter[];
}

/**
 * Reads the weights of a checkpoint and makes room for what is trained.
 *
 * @throws INVALID_CONFIG  patterns or targets that name nothing; an adapter that is not as `lora` says
 * @throws INVALID_CHECKPOINT  the adapter is incomplete, corrupt or of another policy
 */
export async function loadParameters(
  checkpoint: Checkpoint,
  { dtype = 'f32', trained = true, keepGradients = true, lora, adapter }: ParameterOptions,
): Promise<ParameterSet> {
  const tensors = tensorNames(checkpoint.config);
  const names = tensors.map(({ name }) => name);
  const isTrained =
    trained === false || lora ? new Set<string>() : trained === true ? new Set(names) : trainedNames(names, trained);
  if (lora && typeof trained === 'object' && (trained.freeze ?? trained.only))
    throw new G2rpoError(
      'INVALID_CONFIG',
      'train.lora trains its adapters alone: train.freeze and train.only have no place',
    );
  const changed = new Set(lora && loraTargets(tensors, lora).map(({ name }) => name));
  const peft = adapter === undefined ? undefined : await readPeft(adapter, tensors);
  if (lora && peft) checkSame(lora, changed, peft);
  if (dtype === 'bf16' && peft && !lora && trained !== false)
    throw new G2rpoError(
      'INVALID_CONFIG',
      'policy.adapter: added to weights that are trained in bf16 most of it would be lost; give policy.weights: f32, or train.lora to train on it',
    );
  const real = dtype === 'bf16' ? 'f32' : dtype;
  const set: ParameterSet = { parameters: [], trained: [], adapters: [] };
  const memory = new ReadBuffer();
  try {
    for (const { name, shape } of tensors) {
      const weight =
        dtype === 'bf16' && isMatrix({ name, shape })
          ? tensor(await checkpoint.readBf16(name, memory), shape)
          : realTensor(real, (await checkpoint.read(name)) as Float32Array<ArrayBuffer>, shape);
      const parameter: Parameter = { name, shape, weight, gradient: undefined };
      set.parameters.push(parameter); // from here on it is freed with the others
      if (isTrained.has(name)) {
        if (keepGradients) parameter.gradient = zeros(real, shape);
        set.trained.push(parameter);
      }
      const found = peft?.matrices.get(name);
      if (lora && changed.has(name)) {
        const { rank, alpha, seed } = lora;
        const first = found ?? initialLora(name, matrixOf(shape), rank, seed);
        const made = adapt(parameter, first, { rank, scale: alpha / rank, keepGradients });
        set.adapters.push(made);
        set.trained.push(made.a, made.b);
      } else if (peft && found) mergeForever(parameter, found, peft);
    }
    return set;
  } catch (error) {
    disposeParameters(set);
    throw error;
  }
}

/** Frees all of it. */
export function disposeParameters({ parameters, trained, adapters }: ParameterSet): void {
  for (const { weight, gradient } of [...parameters, ...trained]) {
    weight.dispose();
    gradient?.dispose();
  }
  for (const { base } of adapters) base.dispose();
}

/** An adapter that is trained on must be the one that the configuration describes. */
function checkSame({ rank, alpha }: LoraOptions, targets: ReadonlySet<string>, peft: PeftAdapter): void {
  const refuse = (what: string, wanted: unknown, got: unknown): never => {
    throw new G2rpoError(
      'INVALID_CONFIG',
      `train.lora.${what} must be as in the adapter ${peft.dir}: ${String(got)}; got ${String(wanted)}`,
      { dir: peft.dir },
    );
  };
  if (peft.rank !== rank) refuse('rank', rank, peft.rank);
  if (peft.scale !== alpha / rank) refuse('alpha', alpha, peft.scale * rank);
  const missing = [...targets].filter((name) => !peft.matrices.has(name));
  if (missing.length > 0) refuse('targets', `also ${missing[0]}`, `${peft.matrices.size} matrices`);
  const surplus = [...peft.matrices.keys()].filter((name) => !targets.has(name));
  if (surplus.length > 0) refuse('targets', `none that names it`, surplus[0]);
}
