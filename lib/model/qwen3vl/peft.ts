import { mkdir, open, rename, rm } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { G2rpoError } from '../../runtime/errors.ts';
import { describe, isObject } from './configReader.ts';
import { readFailure, readJsonFile } from './jsonFile.ts';
import { matrixOf, moduleOf, type Adapter, type LoraValues } from './lora.ts';
import { readAt, readTensorEntries } from './safetensors.ts';
import { syncFolder, writeSynced } from './synced.ts';
import { elementCount, type TensorShape } from './tensorNames.ts';
import { widenInto } from './weightFormat.ts';
import { writeSafetensors } from './writeSafetensors.ts';

const [CONFIG, WEIGHTS] = ['adapter_config.json', 'adapter_model.safetensors'];
const PREFIX = 'base_model.model.';
/** Settings under which an adapter is not W + scale·B·A of the matrices that its tensors name. */
const MORE_THAN_A_PRODUCT = [
  ...['use_dora', 'use_qalora', 'use_bdlora', 'lora_bias', 'fan_in_fan_out', 'modules_to_save', 'arrow_config'],
  ...['rank_pattern', 'alpha_pattern', 'layer_replication', 'target_parameters', 'trainable_token_indices'],
];

/** An adapter as a folder holds it. */
export interface PeftAdapter {
  dir: string;
  rank: number;
  scale: number;
  /** by the name of the weight */
  matrices: Map<string, LoraValues>;
}

/**
 * Reads an adapter in PEFT's format. Which matrices it changes is read from its tensors.
 *
 * @throws INVALID_CHECKPOINT  incomplete, corrupt, of another policy, or of a kind that is more than W + scale·B·A
 * @throws IO  the file system refused
 */
export async function readPeft(dir: string, tensors: readonly TensorShape[]): Promise<PeftAdapter> {
  const file = join(dir, CONFIG);
  const config = await readJsonFile(file);
  const refuse = (message: string, where = file): never => {
    throw new G2rpoError('INVALID_CHECKPOINT', `${where}: ${message}`, { file: where });
  };
  if (!isObject(config)) return refuse(`must be an object; got ${describe(config)}`);
  const { r: rank, lora_alpha: alpha } = config;
  if (config['peft_type'] !== 'LORA') refuse(`peft_type must be "LORA"; got ${describe(config['peft_type'])}`);
  if (typeof rank !== 'number' || !Number.isInteger(rank) || rank < 1)
    return refuse(`r must be a whole number from 1; got ${describe(rank)}`);
  if (typeof alpha !== 'number') return refuse(`lora_alpha must be a number; got ${describe(alpha)}`);
  for (const key of MORE_THAN_A_PRODUCT)
    if (isSet(config[key])) refuse(`${key} is not supported; got ${describe(config[key])}`);
  if (![undefined, 'none'].includes(config['bias'] as string | undefined))
    refuse(`bias must be "none"; got ${describe(config['bias'])}`);
  const scale = alpha / (config['use_rslora'] === true ? Math.sqrt(rank) : rank);
  const matrices = await readMatrices(join(dir, WEIGHTS), tensors, rank);
  return { dir, rank, scale, matrices };
}

const isSet = (value: unknown): boolean =>
  value !== undefined &&
  value !== null &&
  value !== false &&
  !(typeof value === 'object' && Object.keys(value).length === 0);

async function readMatrices(
  file: string,
  tensors: readonly TensorShape[],
  rank: number,
): Promise<Map<string, LoraValues>> {
  const shapes = new Map(tensors.map(({ name, shape }) => [name, matrixOf(shape)]));
  const refuse = (name: string, message: string): never => {
    throw new G2rpoError('INVALID_CHECKPOINT', `${file}: ${name} ${message}`, { file, tensor: name });
  };
  const handle = await open(file).catch((error: unknown) => {
    throw readFailure(file, error);
  });
  const found = new Map<string, Partial<LoraValues>>();
  try {
    for (const [name, entry] of await readTensorEntries(handle, file)) {
      const [, module, part] = /^base_model\.model\.(.+)\.lora_([AB])\.weight$/.exec(name) ?? [];
      if (module === undefined) return refuse(name, 'is no part of a LoRA adapter that is known here');
      const weight = `${module}.weight`;
      const size = shapes.get(weight);
      if (!size) return refuse(name, `belongs to no matrix of this policy`);
      const wanted = part === 'A' ? [rank, size[1]] : [size[0], rank];
      if (entry.shape.length !== 2 || entry.shape.some((n, i) => n !== wanted[i]))
        refuse(name, `must be [${wanted.join(', ')}]; got [${entry.shape.join(', ')}]`);
      const values = new Float32Array(elementCount(entry.shape));
      widenInto(values, await readAt(handle, entry.offset, entry.bytes, file), entry.dtype);
      found.set(weight, { ...found.get(weight), [part === 'A' ? 'a' : 'b']: values });
    }
  } finally {
    await handle.close();
  }
  for (const [name, { a, b }] of found)
    if (!a || !b) refuse(`${PREFIX}${moduleOf(name)}.lora_${a ? 'B' : 'A'}.weight`, 'is missing');
  return found as Map<string, LoraValues>;
}

/**
 * Writes adapters as PEFT does, in f32, whole or not at all.
 *
 * @param base  the folder of the checkpoint that they change
 * @throws IO  the file system refused
 */
export async function writePeft(
  dir: string,
  adapters: readonly Adapter[],
  { base, alpha, tensors }: { base: string; alpha: number; tensors: readonly TensorShape[] },
): Promise<void> {
  const target = resolve(dir);
  const writing = `${target}.writing`;
  const config = {
    peft_type: 'LORA',
    task_type: 'CAUSAL_LM',
    base_model_name_or_path: base,
    revision: null,
    inference_mode: true,
    r: adapters[0]!.rank,
    lora_alpha: alpha,
    lora_dropout: 0,
    target_modules: targetModules(
      adapters.map(({ name }) => moduleOf(name)),
      tensors.map(({ name }) => moduleOf(name)),
    ),
    bias: 'none',
    fan_in_fan_out: false,
    use_rslora: false,
    use_dora: false,
    init_lora_weights: true,
    modules_to_save: null,
    layers_to_transform: null,
    layers_pattern: null,
    rank_pattern: {},
    alpha_pattern: {},
  };
  try {
    await rm(writing, { recursive: true, force: true });
    await mkdir(writing, { recursive: true });
    await writeSafetensors(
      join(writing, WEIGHTS),
      adapters.flatMap(({ a, b }) =>
        [a, b].map(({ name, shape, weight }) => ({ name: `${PREFIX}${name}`, shape, tensor: weight })),
      ),
      { format: 'pt' },
    );
    await writeSynced(join(writing, CONFIG), `${JSON.stringify(config, null, 2)}\n`);
    await rm(target, { recursive: true, force: true });
    await rename(writing, target);
    await syncFolder(dirname(target));
  } catch (cause) {
    await rm(writing, { recursive: true, force: true }).catch(() => undefined); // the first failure is the one to report
    if (cause instanceof G2rpoError) throw cause;
    throw new G2rpoError(
      'IO',
      `${target}: ${basename(WEIGHTS)} not written: ${(cause as Error).message}`,
      { dir: target },
      { cause },
    );
  }
}

/** Short names where they name these modules and no others, as people write them; whole names elsewhere. */
function targetModules(adapted: readonly string[], all: readonly string[]): string[] {
  const last = (module: string) => module.split('.').at(-1)!;
  const short = new Set(adapted.map(last));
  return all.filter((module) => short.has(last(module))).length === adapted.length ? [...short] : [...adapted];
}
