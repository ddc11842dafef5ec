import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, open, readdir, readFile, rename, rm, statfs } from 'node:fs/promises';
import { basename, join, relative } from 'node:path';
import { syncFolder, writeSynced } from '../model/qwen3vl/synced.ts';
import { writtenBytes } from '../model/qwen3vl/writeSafetensors.ts';
import { G2rpoError } from '../runtime/errors.ts';
import type { Optimizer, StateTensor } from './optimizer.ts';
import { readState, writeState } from './stateFile.ts';

const VERSION = 1;
const [MANIFEST, STATE, POLICY] = ['manifest.json', 'state.json', 'policy'];
const [MOMENTS, AVERAGE] = ['optimizer.safetensors', 'average.safetensors'];

/** What a checkpoint needs of the policy. */
export interface SavedPolicy {
  save(dir: string, options: { dtype: 'float32' }): Promise<void>;
  /** that it will take on the disk */
  bytes?: number;
}

/** What a checkpoint keeps of what is trained. */
export interface CheckpointContent {
  policy: SavedPolicy;
  optimizer: Optimizer;
  /** a moving average of the weights, where there is one */
  average?: readonly StateTensor[];
  /** fingerprint of the policy that adapters are for */
  base?: string;
}

/** A complete checkpoint: every file is as it was written. */
export interface RunCheckpoint {
  step: number;
  dir: string;
  /** what the policy saved: a Hugging Face folder with the f32 master weights, or of LoRA the adapter */
  policyDir: string;
  base: string | undefined;
  /** whatever the run gave to remember */
  state: unknown;
  /** Writes moments and the number of updates back into an optimizer of the same parameters. */
  restoreOptimizer(optimizer: Optimizer): Promise<void>;
  /** Writes moving averages of weights back. */
  restoreAverage(average: readonly StateTensor[]): Promise<void>;
}

/** What is seen of a checkpoint at a glance. */
export type LatestState = Pick<RunCheckpoint, 'step' | 'policyDir' | 'state'>;

/**
 * Writes `<dir>/step-000123`: policy, optimizer, state, and a manifest with the checksum of every file. Everything is on the
 * disk under another name before the folder takes its own, so that a kill, or a full disk, leaves the checkpoints before it as
 * they are. Then all but the last `keepLast` are deleted.
 *
 * @throws IO  too little space, or the file system refused
 */
export async function saveCheckpoint(
  dir: string,
  content: CheckpointContent & { step: number; state: unknown },
  { keepLast }: { keepLast: number },
): Promise<string> {
  const { step, policy, optimizer, average, base, state } = content;
  const target = join(dir, folderOf(step));
  const writing = `${target}.writing`;
  try {
    await mkdir(dir, { recursive: true });
    for (const left of await readdir(dir))
      // by a process that was killed
      if (/^step-\d+\.writing$/.test(left)) await rm(join(dir, left), { recursive: true, force: true });
    await refuseFullDisk(dir, policy, [...optimizer.state, ...(average ?? [])]);
    await mkdir(writing);
    await policy.save(join(writing, POLICY), { dtype: 'float32' });
    await writeState(join(writing, MOMENTS), optimizer.state);
    if (average) await writeState(join(writing, AVERAGE), average);
    const remembered = {
      version: VERSION,
      step,
      updates: optimizer.updates,
      ...(base !== undefined && { base }),
      state,
    };
    await writeSynced(join(writing, STATE), `${JSON.stringify(remembered)}\n`);
    const files: Record<string, string> = {};
    for (const file of await filesBelow(writing)) files[relative(writing, file)] = await sha256(file);
    await writeSynced(join(writing, MANIFEST), `${JSON.stringify({ version: VERSION, files }, null, 2)}\n`);
    await syncFolder(writing);
    // the same step written again, or one that is damaged: where one stands aside already, it is what the run went on from
    const aside = asideOf(target);
    if (existsSync(aside)) await rm(target, { recursive: true, force: true });
    else if (existsSync(target)) await rename(target, aside);
    await rename(writing, target);
    await syncFolder(dir);
  } catch (cause) {
    await rm(writing, { recursive: true, force: true }).catch(() => undefined); // the first failure is the one to report
    if (cause instanceof G2rpoError) throw cause;
    throw new G2rpoError(
      'IO',
      `${target}: checkpoint not written: ${(cause as Error).message}`,
      { dir: target },
      { cause },
    );
  }
  try {
    const steps = (await stepsIn(dir)).filter((s) => s <= step);
    const old = steps.slice(0, Math.max(0, steps.length - Math.max(1, keepLast))).map(folderOf);
    const aside = (await namesIn(dir)).filter((name) => ASIDE.test(name));
    for (const name of [...old, ...aside]) await rm(join(dir, name), { recursive: true, force: true });
  } catch (cause) {
    throw new G2rpoError(
      'IO',
      `${target}: written, but what it replaces could not be deleted: ${(cause as Error).message}`,
      { dir: target },
      { cause },
    );
  }
  return target;
}

/** Where a checkpoint stands while another one of its step takes its place. */
const asideOf = (folder: string) => `${folder}.replaced`;
const ASIDE = /^step-\d+\.replaced$/;

/**
 * The latest checkpoint whose files are all there and unchanged, or undefined if none was ever written. Damaged ones are passed
 * over, each with its reason.
 *
 * @throws INVALID_CHECKPOINT  there are checkpoints, but all are damaged: to begin anew is not for us to decide
 * @throws IO  the folder cannot be read
 */
export async function latestCheckpoint(
  dir: string,
  onDamaged: (reason: string) => void | Promise<void> = () => undefined,
): Promise<RunCheckpoint | undefined> {
  const reasons: string[] = [];
  for (const path of await foldersIn(dir)) {
    try {
      const found = await openCheckpointFolder(path);
      // left by a process that was killed when this one had taken its place; if it stays, the next to be written takes it away
      if (!ASIDE.test(basename(path))) await rm(asideOf(path), { recursive: true, force: true }).catch(() => undefined);
      return found;
    } catch (error) {
      if (!(error instanceof G2rpoError)) throw error;
      reasons.push(error.message);
      await onDamaged(error.message);
    }
  }
  if (reasons.length === 0) return undefined;
  throw new G2rpoError('INVALID_CHECKPOINT', `${dir}: no checkpoint is whole; the latest: ${reasons[0]}`, {
    dir,
    reasons,
  });
}

/**
 * The step, the state and the policy's folder of the latest checkpoint that says them, or undefined if none does. Its files are not held
 * against their checksums: for those who only want to know what a folder is of.
 *
 * @throws IO  the folder cannot be read
 */
export async function glanceAtLatest(dir: string): Promise<LatestState | undefined> {
  for (const path of await foldersIn(dir)) {
    const content = (await readJson(join(path, STATE))) as { step?: number; state?: unknown } | undefined;
    if (content?.state !== undefined && content.step !== undefined)
      return { step: content.step, policyDir: join(path, POLICY), state: content.state };
  }
  return undefined;
}

/** @throws INVALID_CHECKPOINT  a file is missing or is not as it was written */
export async function openCheckpointFolder(dir: string): Promise<RunCheckpoint> {
  const refuse = (why: string): never => {
    throw new G2rpoError('INVALID_CHECKPOINT', `${dir}: ${why}`, { dir });
  };
  const manifest = (await readJson(join(dir, MANIFEST))) as
    { version?: number; files?: Record<string, string> } | undefined;
  if (!manifest?.files) return refuse('the checkpoint is incomplete: it has no readable manifest.json');
  if (manifest.version !== VERSION)
    return refuse(`checkpoint version ${VERSION} was wanted; got ${String(manifest.version)}`);
  for (const [name, wanted] of Object.entries(manifest.files)) {
    const got = await sha256(join(dir, name)).catch(() => undefined);
    if (got !== wanted)
      refuse(`${name} ${got === undefined ? 'is missing' : 'is not as it was written: its checksum differs'}`);
  }
  const content = (await readJson(join(dir, STATE))) as
    { step?: number; updates?: number; base?: string; state: unknown } | undefined;
  const { step, updates } = content ?? {};
  if (!Number.isSafeInteger(step) || !Number.isSafeInteger(updates))
    return refuse(`${STATE} must say step and updates; it does not, or cannot be read`);
  return {
    step: step!,
    dir,
    policyDir: join(dir, POLICY),
    base: content!.base,
    state: content!.state,
    async restoreOptimizer(optimizer) {
      await readState(join(dir, MOMENTS), optimizer.state);
      optimizer.restore(updates!);
    },
    restoreAverage: (average) => readState(join(dir, AVERAGE), average),
  };
}

const folderOf = (step: number) => `step-${String(step).padStart(6, '0')}`;

/** Folders that a checkpoint may be in, the latest step first; of a step that one that stands aside, if it was ever whole, comes last. */
async function foldersIn(dir: string): Promise<string[]> {
  const names = await namesIn(dir);
  const aside = names.filter((name) => ASIDE.test(name) && existsSync(join(dir, name, MANIFEST)));
  const numberOf = (name: string) => Number(/\d+/.exec(name)![0]);
  return [...names.filter((name) => /^step-\d+$/.test(name)), ...aside]
    .sort((a, b) => numberOf(b) - numberOf(a) || a.length - b.length)
    .map((name) => join(dir, name));
}

async function namesIn(dir: string): Promise<string[]> {
  return readdir(dir).catch((error: NodeJS.ErrnoException): string[] => {
    if (error.code === 'ENOENT') return [];
    throw new G2rpoError('IO', `${dir}: cannot look for checkpoints: ${error.message}`, { dir }, { cause: error });
  });
}

/** Steps with a folder, rising. */
async function stepsIn(dir: string): Promise<number[]> {
  return (await namesIn(dir))
    .flatMap((name) => /^step-(\d+)$/.exec(name)?.[1] ?? [])
    .map(Number)
    .sort((a, b) => a - b);
}

/** Weights and state, and a little more. */
async function refuseFullDisk(dir: string, { bytes = 0 }: SavedPolicy, state: readonly StateTensor[]): Promise<void> {
  const ofState = state.reduce((sum, { tensor }) => sum + writtenBytes(tensor), 0);
  const wanted = bytes + ofState + 2 ** 20;
  const { bavail, bsize } = await statfs(dir);
  if (bavail * bsize < wanted)
    throw new G2rpoError(
      'IO',
      `${dir}: checkpoint not written: ${(wanted / 1e6).toFixed(1)} MB are wanted, ${((bavail * bsize) / 1e6).toFixed(1)} MB are free`,
      { dir, wanted, free: bavail * bsize },
    );
}

async function filesBelow(dir: string): Promise<string[]> {
  const entries = await readdir(dir, { withFileTypes: true, recursive: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

async function sha256(file: string): Promise<string> {
  const hash = createHash('sha256');
  const handle = await open(file);
  try {
    for await (const chunk of handle.createReadStream({ autoClose: false })) hash.update(chunk as Buffer);
  } finally {
    await handle.close();
  }
  return hash.digest('hex');
}

async function readJson(file: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(file, 'utf8'));
  } catch {
    return undefined;
  }
}
