import type { Stats } from 'node:fs';
import { open, stat, type FileHandle } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { toBf16 } from '../../runtime/bf16.ts';
import { G2rpoError } from '../../runtime/errors.ts';
import { parseModelConfig, type ModelConfig } from './config.ts';
import { describe, isObject } from './configReader.ts';
import { layoutOf, storedShape, turned, type ExpertLayout } from './expertLayout.ts';
import { readFailure, readJsonFile } from './jsonFile.ts';
import { readAt, ReadBuffer, readTensorEntries, type TensorEntry } from './safetensors.ts';
import { elementCount, tensorNames, type TensorShape } from './tensorNames.ts';
import { ELEMENT_BYTES, widenInto, type StoredDtype } from './weightFormat.ts';

/** A folder whose weights were found complete and of the right shapes. Weights are read when asked for. */
export interface Checkpoint {
  /** where it was read from */
  readonly dir: string;
  readonly config: ModelConfig;
  /** in file order and as `read` returns them, whatever their order and layout on disk */
  readonly tensors: ReadonlyMap<string, { readonly shape: readonly number[]; readonly dtype: StoredDtype }>;
  /** One tensor as fp32, row-major, experts as [expert, in, out]; BF16 and F16 are widened exactly. */
  read(name: string): Promise<Float32Array>;
  /** The same as bits of bf16: as they are stored, or rounded to the nearest. They may stand in `memory`, until it is given again. */
  readBf16(name: string, memory?: ReadBuffer): Promise<Uint16Array<ArrayBuffer>>;
  /** One tensor as it is stored, little-endian. */
  readBytes(name: string): Promise<Uint8Array>;
}

interface Located extends TensorEntry {
  file: WeightFile;
}

/** A weight file and what its identity was when the header was read. */
interface WeightFile {
  path: string;
  identity: string;
}

/** Widening is done in pieces, so that a large table does not stop everything else. */
const CHUNK_BYTES = 16 * 2 ** 20;

/**
 * A checkpoint folder, validated: configuration, header of every weight file, names and shapes. No weight is read yet.
 *
 * Weights are `model.safetensors`, or shards with `model.safetensors.index.json`. Should a writer have been killed in the
 * moment between moving the old folder away and the new one in, the old one is read.
 *
 * @param expertLayout  how experts are stored, if their shapes are not to be asked
 *
 * @throws INVALID_CHECKPOINT  something is missing, superfluous, corrupt or of another shape; names file and tensor
 * @throws IO  the file system refused
 */
export async function openCheckpoint(
  dir: string,
  { expertLayout }: { expertLayout?: ExpertLayout } = {},
): Promise<Checkpoint> {
  const from = await survivingFolder(dir);
  const entries = await locateTensors(from);
  const file = join(from, 'config.json');
  const config = parseModelConfig(await readJsonFile(file), file, entries.has('lm_head.weight'));
  const names = tensorNames(config);
  const layouts = new Map(names.map((t) => [t.name, expertLayout ?? layoutOf(t, entries.get(t.name)?.shape)]));
  const stored = names.map((t) => ({ name: t.name, shape: storedShape(t, layouts.get(t.name)!) }));
  checkTensors(entries, stored, from);
  const locate = (name: string): Located => {
    const entry = entries.get(name);
    if (entry) return entry;
    throw new G2rpoError('INVALID_ARGUMENT', `${from}: no tensor is called ${describe(name)}`, { tensor: name });
  };
  return {
    dir: from,
    config,
    tensors: new Map(names.map(({ name, shape }) => [name, { shape, dtype: entries.get(name)!.dtype }])),
    async read(name) {
      const found = locate(name);
      return turned(await readTensor(found), { name, shape: found.shape }, layouts.get(name)!);
    },
    async readBf16(name, memory) {
      const found = locate(name);
      const bits = found.dtype === 'BF16' ? uint16Of(await readStored(found, memory)) : toBf16(await readTensor(found));
      return turned(bits, { name, shape: found.shape }, layouts.get(name)!);
    },
    readBytes: (name) => readStored(locate(name)),
  };
}

const readStored = ({ file, offset, bytes }: Located, memory?: ReadBuffer): Promise<Buffer<ArrayBuffer>> =>
  withFile(file, (handle) => readAt(handle, offset, bytes, file.path, memory));

/** Little-endian words; `readAt` gives the beginning of an ArrayBuffer. */
const uint16Of = (bytes: Buffer<ArrayBuffer>) => new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2);

/** `dir`, or what `writeCheckpoint` had moved aside if `dir` is not there. */
async function survivingFolder(dir: string): Promise<string> {
  for (const path of [dir, `${dir}.previous`]) {
    const found = await statOf(path);
    if (found?.isDirectory()) return path;
    if (found) throw new G2rpoError('INVALID_CHECKPOINT', `${path}: must be a folder`, { file: path });
  }
  throw new G2rpoError('INVALID_CHECKPOINT', `${dir}: no such folder`, { file: dir });
}

async function locateTensors(dir: string): Promise<Map<string, Located>> {
  const single = join(dir, 'model.safetensors');
  const index = join(dir, 'model.safetensors.index.json');
  if (await exists(single)) return openWeightFile(single);
  if (!(await exists(index)))
    throw new G2rpoError('INVALID_CHECKPOINT', `${dir}: neither ${basename(single)} nor ${basename(index)} is there`, {
      file: single,
    });
  return locateInShards(dir, index);
}

async function locateInShards(dir: string, index: string): Promise<Map<string, Located>> {
  const refuse = (message: string, tensor?: string): never => {
    throw new G2rpoError('INVALID_CHECKPOINT', `${index}: ${message}`, { file: index, ...(tensor && { tensor }) });
  };
  const json = await readJsonFile(index);
  const map = isObject(json) ? json['weight_map'] : undefined;
  if (!isObject(map)) return refuse(`weight_map must be an object; got ${describe(map)}`);
  const shards = new Map<string, Map<string, Located>>();
  const all = new Map<string, Located>();
  for (const [name, shard] of Object.entries(map)) {
    if (typeof shard !== 'string' || shard !== basename(shard) || !shard.endsWith('.safetensors'))
      return refuse(`weight_map: ${name} must name a .safetensors file of this folder; got ${describe(shard)}`, name);
    if (!shards.has(shard)) shards.set(shard, await openWeightFile(join(dir, shard)));
    const entry = shards.get(shard)!.get(name);
    if (!entry) return refuse(`weight_map: ${name} must be in ${shard}; it is not`, name);
    all.set(name, entry);
  }
  for (const [shard, entries] of shards)
    for (const name of entries.keys())
      if (map[name] !== shard) refuse(`${name} is in ${shard}, but weight_map says ${describe(map[name])}`, name);
  return all;
}

async function openWeightFile(path: string): Promise<Map<string, Located>> {
  const handle = await openOrRefuse(path);
  try {
    const file = { path, identity: await identityOf(handle) };
    const entries = await readTensorEntries(handle, path);
    return new Map([...entries].map(([name, entry]) => [name, { ...entry, file }]));
  } finally {
    await handle.close();
  }
}

function checkTensors(entries: Map<string, Located>, wanted: readonly TensorShape[], dir: string): void {
  const problems: string[] = [];
  for (const { name, shape } of wanted) {
    const entry = entries.get(name);
    if (!entry) problems.push(`${name} [${shape.join(', ')}] is missing`);
    else if (entry.shape.length !== shape.length || entry.shape.some((size, i) => size !== shape[i]))
      problems.push(
        `${basename(entry.file.path)}: ${name} must be [${shape.join(', ')}]; got [${entry.shape.join(', ')}]`,
      );
  }
  const names = new Set(wanted.map(({ name }) => name));
  for (const [name, { file }] of entries) {
    const why =
      name === 'lm_head.weight' ? 'although tie_word_embeddings is true' : 'but belongs to no part of the model';
    if (!names.has(name)) problems.push(`${basename(file.path)}: ${name} is stored, ${why}`);
  }
  if (problems.length === 0) return;
  const shown = problems.slice(0, 8).join('; ') + (problems.length > 8 ? `; and ${problems.length - 8} more` : '');
  throw new G2rpoError('INVALID_CHECKPOINT', `${dir}: ${shown}`, { file: dir, problems });
}

async function readTensor({ file, offset, bytes, dtype, shape }: Located): Promise<Float32Array> {
  const values = new Float32Array(elementCount(shape));
  const width = ELEMENT_BYTES[dtype];
  const memory = new ReadBuffer();
  await withFile(file, async (handle) => {
    for (let done = 0; done < bytes; done += CHUNK_BYTES) {
      const length = Math.min(CHUNK_BYTES, bytes - done);
      const chunk = await readAt(handle, offset + done, length, file.path, memory);
      widenInto(values.subarray(done / width, (done + length) / width), chunk, dtype);
    }
  });
  return values;
}

/** The offsets were read earlier: a file that was replaced since would yield other weights, or noise. */
async function withFile<T>(file: WeightFile, use: (handle: FileHandle) => Promise<T>): Promise<T> {
  const handle = await openOrRefuse(file.path);
  try {
    if ((await identityOf(handle)) !== file.identity)
      throw new G2rpoError('INVALID_CHECKPOINT', `${file.path}: was replaced after the checkpoint was opened`, {
        file: file.path,
      });
    return await use(handle);
  } finally {
    await handle.close();
  }
}

async function identityOf(handle: FileHandle): Promise<string> {
  const { dev, ino, size, mtimeNs } = await handle.stat({ bigint: true });
  return [dev, ino, size, mtimeNs].join(' ');
}

async function openOrRefuse(path: string): Promise<FileHandle> {
  try {
    return await open(path);
  } catch (error) {
    throw readFailure(path, error);
  }
}

async function exists(path: string): Promise<boolean> {
  return (await statOf(path)) !== undefined;
}

async function statOf(path: string): Promise<Stats | undefined> {
  try {
    return await stat(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw readFailure(path, error);
  }
}
