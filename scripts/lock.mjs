import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';

const sleep = (ms) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

function ownerOf(path) {
  try {
    return Number(readFileSync(path, 'utf8'));
  } catch (error) {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  }
}

/**
 * Waits until no other process holds the lock file, and holds it until the returned function is called or the process ends.
 * What a killed process has left is taken away.
 */
export function lock(path) {
  mkdirSync(dirname(path), { recursive: true });
  for (let told = false; ; sleep(100)) {
    try {
      writeFileSync(path, String(process.pid), { flag: 'wx' });
      break;
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
    }
    const owner = ownerOf(path);
    if (owner === undefined) continue;
    if (owner > 0 && isAlive(owner)) {
      if (!told) process.stderr.write(`g2rpo: waiting for the setup that process ${owner} is doing …\n`);
      told = true;
      continue;
    }
    sleep(100); // a file that was made this moment may still be empty
    if (ownerOf(path) !== owner) continue;
    const aside = `${path}.${process.pid}`;
    try {
      renameSync(path, aside);
      if (ownerOf(aside) === owner) rmSync(aside);
      else renameSync(aside, path); // another waiter was faster, and this is its lock
    } catch (error) {
      if (error.code !== 'ENOENT') throw error;
    }
  }
  const unlock = () => {
    process.off('exit', unlock);
    rmSync(path, { force: true });
  };
  process.on('exit', unlock);
  return unlock;
}
