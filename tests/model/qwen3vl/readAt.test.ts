import { mkdtempSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readAt, ReadBuffer } from '../../../lib/model/qwen3vl/safetensors.ts';
import { rejectionOf } from '../../support/thrown.ts';

describe('bytes of a file', () => {
  const size = 20 * 2 ** 20 + 5; // pieces are of 8 MB
  const written = Buffer.alloc(size, 'not of two bytes nor of four');
  const path = join(mkdtempSync(join(tmpdir(), 'g2rpo-')), 'bytes');
  const read = async (position: number, length: number, memory?: ReadBuffer) => {
    const handle = await open(path);
    try {
      return await readAt(handle, position, length, 'bytes', memory);
    } finally {
      await handle.close();
    }
  };

  it('are read in pieces, also into memory that was read into before', async () => {
    writeFileSync(path, written);
    const memory = new ReadBuffer();
    for (const [from, to] of [
      [3, size],
      [7, 7],
      [size - 1, size],
      [1, 2 ** 23 + 2],
    ] as const)
      // prettier-ignore
      for (const into of [memory, undefined])
        expect((await read(from, to - from, into)).equals(written.subarray(from, to))).toBe(true);
  });

  it('that are not there are missed', async () => {
    const { message } = await rejectionOf(read(2, size));
    expect(message).toBe(`bytes: ends at byte ${size}, wanted ${size + 2}`);
  });
});
