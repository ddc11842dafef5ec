import { createHash } from 'node:crypto';
import { open, readdir } from 'node:fs/promises';
import { join } from 'node:path';

const PIECE = 2 ** 20;

/**
 * A checksum by which a policy folder is known again: of names, sizes, and the first and last megabyte of its configuration and
 * weight files. Reading all of the weights would take minutes where they are large, and two policies differ all over.
 */
export async function fingerprint(dir: string): Promise<string> {
  const hash = createHash('sha256');
  const names = (await readdir(dir)).filter((name) => name === 'config.json' || name.endsWith('.safetensors')).sort();
  for (const name of names) {
    const handle = await open(join(dir, name));
    try {
      const { size } = await handle.stat();
      hash.update(`${name} ${size}\n`);
      for (const at of [0, Math.max(0, size - PIECE)]) {
        const { buffer, bytesRead } = await handle.read(Buffer.alloc(PIECE), 0, PIECE, at);
        hash.update(buffer.subarray(0, bytesRead));
      }
    } finally {
      await handle.close();
    }
  }
  return hash.digest('hex');
}
