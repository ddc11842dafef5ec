import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { folderFree, lockFolder } from '../../lib/train/folderLock.ts';
import { thrownBy } from '../support/thrown.ts';

let dir: string;
const file = () => join(dir, '.lock');
beforeEach(() => (dir = mkdtempSync(join(tmpdir(), 'g2rpo-lock-'))));
afterEach(() => rmSync(dir, { recursive: true, force: true }));

/** What a lock of ours says. */
function holder(): Record<string, unknown> {
  using lock = lockFolder(dir);
  return JSON.parse(readFileSync(file(), 'utf8')) as Record<string, unknown>;
}
/** The folder is as if another had left this. */
function left(text: string | object, secondsAgo = 0): void {
  writeFileSync(file(), typeof text === 'string' ? text : JSON.stringify(text));
  const time = Date.now() / 1000 - secondsAgo;
  utimesSync(file(), time, time);
}
const isFree = () => {
  using lock = lockFolder(dir);
  return (JSON.parse(readFileSync(file(), 'utf8')) as { pid: number }).pid === process.pid;
};

it('holds a folder, which it makes, until it is disposed', () => {
  dir = join(dir, 'a/b');
  {
    using lock = lockFolder(dir);
    const error = thrownBy(() => lockFolder(dir));
    expect(error).toMatchObject({ code: 'IO', details: { dir, pid: process.pid, file: file() } });
    expect(error.message).toMatch(/process \d+ is at work in this folder; wait for it or stop it, or take another/);
  }
  expect(existsSync(file())).toBe(false);
  expect(isFree()).toBe(true);
});

it('is held by a process that lives', async () => {
  const child = spawn('sleep', ['60']);
  const stat = readFileSync(`/proc/${child.pid}/stat`, 'utf8').split(' ');
  left({ ...holder(), pid: child.pid, began: stat[21] });
  expect(thrownBy(isFree).details).toMatchObject({ pid: child.pid });
  const waited: number[] = [];
  const free = folderFree(dir, (pid) => waited.push(pid));
  child.kill('SIGKILL');
  await Promise.all([free, once(child, 'exit')]);
  expect(waited).toEqual([child.pid]);
  expect(isFree()).toBe(true);
});

it('waits no longer than it is wanted', async () => {
  using lock = lockFolder(dir);
  const stop = new AbortController();
  await folderFree(dir, () => stop.abort(), stop.signal);
  expect(existsSync(file())).toBe(true);
});

it.each([
  ['a process that is gone', () => left({ ...holder(), pid: spawnSync(process.execPath, ['-e', '']).pid })],
  ['a process whose number another has now', () => left({ ...holder(), began: '1' })],
  ['a file that a killed process left empty', () => left('')],
  ['a file that is none of ours', () => left('{"pid": "x"}')],
  ['another machine that has been silent', () => left({ ...holder(), where: 'elsewhere' }, 300)],
])('%s is no hindrance', (_, leave) => {
  leave();
  expect(isFree()).toBe(true);
  expect(readdirSync(dir)).toEqual([]);
});

it('a process of another machine or container, which cannot be seen, is there as long as it says so', () => {
  left({ ...holder(), where: 'elsewhere' }, 60);
  expect(thrownBy(isFree).message).toContain(`If there is no such process, remove ${file()}`);
});

it('what another has taken is not taken from it', () => {
  const lock = lockFolder(dir);
  const other = { ...(JSON.parse(readFileSync(file(), 'utf8')) as object), where: 'elsewhere' };
  left(other);
  lock[Symbol.dispose]();
  expect(JSON.parse(readFileSync(file(), 'utf8'))).toEqual(other);
});

it('a folder that cannot be is named', () => {
  writeFileSync(join(dir, 'file'), '');
  expect(thrownBy(() => lockFolder(join(dir, 'file/in'))).message).toMatch(/file\/in: cannot be held: E(NOTDIR|EXIST)/);
  mkdirSync(file());
  expect(thrownBy(() => lockFolder(dir))).toMatchObject({ code: 'IO' });
});

it.each(['/proc/none', '/dev/null/none'])('says so where no folder can be made: %s', (path) =>
  expect(thrownBy(() => lockFolder(path))).toMatchObject({
    code: 'IO',
    message: expect.stringContaining(`${path}: cannot be held`) as string,
  }),
);
