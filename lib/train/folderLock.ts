import {
  existsSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { G2rpoError } from '../runtime/errors.ts';

const FILE = '.lock';
/** How often a holder says that it is still there, and after how long a silent one that cannot be seen is taken for gone. */
const [BEAT_MS, SILENCE_MS] = [10_000, 120_000];

/** Who holds a folder. Numbers of processes begin anew after a start of the machine and in every container. */
const holderOf = z.object({
  pid: z.int(),
  /** when the process began, in ticks of the machine's clock */
  began: z.string(),
  /** start of the machine, and the container */
  where: z.string(),
});
type Holder = z.output<typeof holderOf>;

/** Undefined if there is no such process, or only what is left of one that nobody has asked about. */
function beginOf(pid: number): string | undefined {
  const line = textOf(`/proc/${pid}/stat`);
  // fields 3 and 22, counted behind the name, which may hold blanks
  const fields = line?.slice(line.lastIndexOf(')') + 2).split(' ');
  return fields?.[0] === 'Z' || fields?.[0] === 'X' ? undefined : fields?.[19];
}
const here = (): string =>
  [() => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim(), () => readlinkSync('/proc/self/ns/pid')]
    .map((read) => {
      try {
        return read();
      } catch {
        return '';
      }
    })
    .join(' ');

/** Makes a folder and those above it, one by one: where a parent refuses as /proc does, Node's own way tries for ever. */
function makeFolder(dir: string): void {
  if (existsSync(dir)) return;
  const parent = dirname(resolve(dir));
  if (parent !== resolve(dir)) makeFolder(parent);
  try {
    mkdirSync(dir);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw cause; // another process was faster
  }
}

/**
 * Holds a folder, which is made if it is not there, for this process until it is disposed. What a killed process has left is no
 * hindrance.
 *
 * @throws IO  another process, or another part of this one, holds it; the file system refused
 */
export function lockFolder(dir: string): Disposable {
  const file = join(dir, FILE);
  const own = JSON.stringify({ pid: process.pid, began: beginOf(process.pid) ?? '', where: here() } satisfies Holder);
  try {
    makeFolder(dir);
    while (!written(file, own)) {
      const holder = holderOfFolder(dir);
      if (holder !== undefined)
        throw new G2rpoError(
          'IO',
          `${dir}: process ${holder.pid} is at work in this folder; wait for it or stop it, or take another folder. ` +
            `If there is no such process, remove ${file}`,
          { dir, file, pid: holder.pid },
        );
    }
  } catch (cause) {
    if (cause instanceof G2rpoError) throw cause;
    throw new G2rpoError('IO', `${dir}: cannot be held: ${(cause as Error).message}`, { dir }, { cause });
  }
  const beat = setInterval(() => {
    if (textOf(file) === own) utimesSync(file, new Date(), new Date());
  }, BEAT_MS).unref();
  const unlock = () => {
    clearInterval(beat);
    process.off('exit', unlock);
    if (textOf(file) === own) rmSync(file, { force: true });
  };
  process.on('exit', unlock);
  return { [Symbol.dispose]: unlock };
}

/** Waits until nobody holds a folder, or until `signal` is aborted. `onWait` is told once of who does. */
export async function folderFree(dir: string, onWait: (pid: number) => void, signal?: AbortSignal): Promise<void> {
  for (let told = false; !signal?.aborted; told = true) {
    const holder = holderOfFolder(dir);
    if (holder === undefined) return;
    if (!told) onWait(holder.pid);
    await sleep(100);
  }
}

/** Who holds a folder; the file of a process that is gone is taken away. */
function holderOfFolder(dir: string): Holder | undefined {
  const file = join(dir, FILE);
  let text = textOf(file);
  if (text === undefined) return undefined;
  let holder = parsed(text);
  if (!holder) {
    // a file that was made this moment may still be empty
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 100);
    text = textOf(file);
    if (text === undefined) return undefined;
    holder = parsed(text);
  }
  if (holder && isThere(holder, file)) return holder;
  takeAway(file, text);
  return undefined;
}

function isThere({ pid, began, where }: Holder, file: string): boolean {
  if (where === here()) {
    const now = beginOf(pid);
    return now === began || (now === undefined && isOfAnother(pid));
  }
  const { mtimeMs = 0 } = statSync(file, { throwIfNoEntry: false }) ?? {};
  return Date.now() - mtimeMs < SILENCE_MS;
}

/** Whether it is a process of another user, which may be hidden. */
function isOfAnother(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function takeAway(file: string, text: string): void {
  const aside = `${file}.${process.pid}`;
  try {
    renameSync(file, aside);
    if (textOf(aside) === text) rmSync(aside);
    else renameSync(aside, file); // another was faster, and this is its lock
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}

/** False if the file is there already. */
function written(file: string, text: string): boolean {
  try {
    writeFileSync(file, text, { flag: 'wx' });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

function textOf(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    if (['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw error;
  }
}

function parsed(text: string): Holder | undefined {
  try {
    return holderOf.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}
