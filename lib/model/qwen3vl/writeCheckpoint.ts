import { mkdir, open, readdir, readFile, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { G2rpoError } from '../../runtime/errors.ts';
import { parseModelConfig, type ModelConfig } from './config.ts';
import { isObject } from './configReader.ts';
import { layoutForReaders, storedShape, turned, type ExpertLayout } from './expertLayout.ts';
import { indexOf, planFiles, type PlannedFile } from './shardPlan.ts';
import { syncFolder, writeSynced } from './synced.ts';
import { elementCount, tensorNames, type TensorShape } from './tensorNames.ts';
import { ELEMENT_BYTES, narrow } from './weightFormat.ts';

export interface NamedTensor {
  name: string;
  shape: readonly number[];
  /** row-major; experts as [expert, in, out], however they are to be stored */
  data: Float32Array;
}

export interface CheckpointContents {
  /** config.json and whatever belongs beside it (tokenizer, template, processor and generation settings), by file name */
  files: Record<string, string | Uint8Array>;
  /** every weight once, in any order */
  tensors: AsyncIterable<NamedTensor> | Iterable<NamedTensor>;
  /** what `files` describe; only needed where config.json does not say whether the embeddings are tied */
  config?: ModelConfig;
  dtype?: 'bfloat16' | 'float32';
  /** a tensor is never split, so a file may be larger if one tensor is */
  maxShardBytes?: number;
  /** how experts are stored; if it is not said as in the releases, but square ones so that they are read as what they are */
  expertLayout?: ExpertLayout;
}

const CHUNK_ELEMENTS = 4 * 2 ** 20;

/**
 * Writes a checkpoint folder, whole or not at all.
 *
 * Everything goes to `<dir>.writing` and to the disk first; then the old folder is moved to `<dir>.previous`, the new one
 * takes its place, and the old one is deleted. A full disk or a kill at any moment leaves a folder that `openCheckpoint`
 * accepts. config.json keeps its spelling and unknown keys; only a dtype that is no longer true is replaced.
 *
 * @throws INVALID_ARGUMENT  a tensor missing, given twice, unknown or of another shape; `dir` holds something else
 * @throws INVALID_CHECKPOINT  config.json describes no model
 * @throws IO  the file system refused: full disk, missing permission
 */
export async function writeCheckpoint(dir: string, contents: CheckpointContents): Promise<void> {
  const target = resolve(dir);
  const dtype = contents.dtype ?? 'bfloat16';
  const { config, files } = describeContents(contents, dtype, target);
  const stored = dtype === 'bfloat16' ? 'BF16' : 'F32';
  const layoutFor = (tensor: TensorShape) => contents.expertLayout ?? layoutForReaders(tensor);
  const shapes = tensorNames(config).map((t) => ({ name: t.name, shape: storedShape(t, layoutFor(t)) }));
  const plan = planFiles(shapes, stored, contents.maxShardBytes ?? 5e9);
  const [writing, previous] = [`${target}.writing`, `${target}.previous`];
  try {
    await settle(target, previous);
    await rm(writing, { recursive: true, force: true });
    await mkdir(writing, { recursive: true });
    if (plan.length > 1) files.set('model.safetensors.index.json', indexOf(plan, shapes, stored));
    for (const [name, content] of files) await writeSynced(join(writing, name), content);
    await writeWeights(writing, plan, contents.tensors, config, stored, layoutFor);
    await syncFolder(writing);
    await replace(target, writing, previous);
  } catch (error) {
    await rm(writing, { recursive: true, force: true }).catch(() => undefined); // the first failure is the one to report
    if (!(error instanceof Error) || !('syscall' in error)) throw error;
    throw new G2rpoError(
      'IO',
      `${target}: checkpoint not written: ${error.message}`,
      { dir: target },
      { cause: error },
    );
  }
}

/** All files of a checkpoint folder but its weights, as `writeCheckpoint` takes them. */
export async function sideFiles(dir: string): Promise<Record<string, Uint8Array>> {
  const files: Record<string, Uint8Array> = {};
  try {
    for (const entry of await readdir(dir, { withFileTypes: true })) {
      if (entry.isDirectory() || /\.(safetensors|bin|pth?|gguf)$|\.index\.json$|^\./.test(entry.name)) continue;
      files[entry.name] = await readFile(join(dir, entry.name));
    }
  } catch (cause) {
    throw new G2rpoError('IO', `${dir}: ${(cause as Error).message}`, { dir }, { cause });
  }
  return files;
}

function describeContents(contents: CheckpointContents, dtype: 'bfloat16' | 'float32', dir: string) {
  const files = new Map(Object.entries(contents.files));
  for (const name of files.keys())
    if (name !== name.replace(/[/\\]/g, '') || name === '..' || name === '.' || name === '')
      throw new G2rpoError(
        'INVALID_ARGUMENT',
        `writeCheckpoint: files: ${JSON.stringify(name)} must be a plain file name`,
      );
  const file = join(dir, 'config.json');
  const text = files.get('config.json');
  if (text === undefined) throw new G2rpoError('INVALID_ARGUMENT', 'writeCheckpoint: files must contain config.json');
  let json: unknown;
  try {
    json = JSON.parse(typeof text === 'string' ? text : Buffer.from(text).toString('utf8'));
  } catch (error) {
    throw new G2rpoError('INVALID_CHECKPOINT', `${file}: not JSON: ${(error as Error).message}`, { file });
  }
  const config = contents.config ?? parseModelConfig(json, file);
  if (replaceDtype(json, dtype)) files.set('config.json', `${JSON.stringify(json, null, 2)}\n`);
  return { config, files };
}

/** Makes every dtype in a configuration say `dtype`; whether one had said otherwise. */
function replaceDtype(json: unknown, dtype: string): boolean {
  if (!isObject(json)) return false;
  let changed = false;
  for (const part of [json, json['text_config'], json['vision_config']])
    for (const key of ['dtype', 'torch_dtype'])
      if (isObject(part) && typeof part[key] === 'string' && part[key] !== dtype) {
        part[key] = dtype;
        changed = true;
      }
  return changed;
}

async function writeWeights(
  dir: string,
  plan: PlannedFile[],
  tensors: CheckpointContents['tensors'],
  config: ModelConfig,
  dtype: 'BF16' | 'F32',
  layoutFor: (tensor: TensorShape) => ExpertLayout,
): Promise<void> {
  const shapes = new Map(tensorNames(config).map(({ name, shape }) => [name, shape]));
  const places = new Map<string, { handle: FileHandle; offset: number }>();
  const handles: FileHandle[] = [];
  try {
    for (const { name, header, tensors } of plan) {
      const handle = await open(join(dir, name), 'wx');
      handles.push(handle);
      await writeAt(handle, header, 0);
      for (const tensor of tensors) places.set(tensor.name, { handle, offset: tensor.offset });
    }
    for await (const { name, shape, data: given } of tensors) {
      checkTensor(name, shape, given, shapes.get(name), places.has(name));
      const data = turned(given, { name, shape }, layoutFor({ name, shape: shapes.get(name)! }));
      const { handle, offset } = places.get(name)!;
      places.delete(name);
      for (let i = 0; i < data.length; i += CHUNK_ELEMENTS)
        await writeAt(handle, narrow(data.subarray(i, i + CHUNK_ELEMENTS), dtype), offset + i * ELEMENT_BYTES[dtype]);
    }
    if (places.size > 0) {
      const missing = [...places.keys()];
      throw new G2rpoError(
        'INVALID_ARGUMENT',
        `writeCheckpoint: ${missing.length} of ${shapes.size} tensors were not given, the first is ${missing[0]}`,
        { missing },
      );
    }
    for (const handle of handles) await handle.sync();
  } finally {
    for (const handle of handles) await handle.close();
  }
}

function checkTensor(
  name: string,
  shape: readonly number[],
  data: Float32Array,
  wanted: number[] | undefined,
  open: boolean,
) {
  const refuse = (message: string): never => {
    throw new G2rpoError('INVALID_ARGUMENT', `writeCheckpoint: ${name} ${message}`, { tensor: name });
  };
  if (!wanted) return refuse('belongs to no part of the model');
  if (!open) refuse('was given twice');
  if (shape.length !== wanted.length || shape.some((size, i) => size !== wanted[i]))
    refuse(`must be [${wanted.join(', ')}]; got [${shape.join(', ')}]`);
  if (data.length !== elementCount(wanted)) refuse(`must have ${elementCount(wanted)} elements; got ${data.length}`);
}

/** Finishes or undoes what an interrupted writer left, and makes sure that only a checkpoint can be replaced. */
async function settle(target: string, previous: string): Promise<void> {
  const names = await readdir(target).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (names && names.length > 0 && !names.includes('config.json'))
    throw new G2rpoError('INVALID_ARGUMENT', `${target}: holds something else than a checkpoint; not replaced`, {
      dir: target,
    });
  if (names) await rm(previous, { recursive: true, force: true });
  else if (await stat(previous).catch(() => undefined)) await rename(previous, target);
}

async function replace(target: string, writing: string, previous: string): Promise<void> {
  if (await stat(target).catch(() => undefined)) await rename(target, previous);
  await rename(writing, target);
  await syncFolder(dirname(target));
  await rm(previous, { recursive: true, force: true });
}

async function writeAt(handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length;)
    done += (await handle.write(bytes, done, bytes.length - done, position + done)).bytesWritten;
}
