import { open } from 'node:fs/promises';
import { readAt, readTensorEntries } from '../model/qwen3vl/safetensors.ts';
import { G2rpoError } from '../runtime/errors.ts';
import type { Moments } from './optimizer.ts';

/** Both moments of every parameter as one safetensors file in f32: `<name>.first`, `<name>.second`. */
export async function writeMoments(file: string, moments: readonly Moments[]): Promise<void> {
  const header: Record<string, unknown> = {};
  let end = 0;
  for (const { name, first } of moments)
    for (const part of ['first', 'second']) {
      const begin = end;
      end += 4 * first.size;
      header[`${name}.${part}`] = { dtype: 'F32', shape: [first.size], data_offsets: [begin, end] };
    }
  const json = JSON.stringify(header);
  const text = Buffer.from(json.padEnd(Math.ceil(json.length / 8) * 8));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  const handle = await open(file, 'w');
  try {
    await handle.writeFile(Buffer.concat([length, text]));
    for (const { first, second } of moments)
      for (const moment of [first, second]) {
        const values = Float32Array.from(await moment.read());
        await handle.writeFile(Buffer.from(values.buffer, values.byteOffset, values.byteLength));
      }
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/**
 * Writes the moments of a file back into those of an optimizer.
 *
 * @throws INVALID_CHECKPOINT  the file is of other parameters
 */
export async function readMoments(file: string, moments: readonly Moments[]): Promise<void> {
  const handle = await open(file);
  try {
    const entries = await readTensorEntries(handle, file);
    for (const { name, first, second } of moments)
      for (const [part, moment] of Object.entries({ first, second })) {
        const entry = entries.get(`${name}.${part}`);
        if (entry?.dtype !== 'F32' || entry.bytes !== 4 * moment.size)
          throw new G2rpoError(
            'INVALID_CHECKPOINT',
            `${file}: ${name}.${part} must be F32 [${moment.size}]; got ${entry ? `${entry.dtype} [${entry.shape.join(', ')}]` : 'nothing'}`,
            { file, tensor: name },
          );
        const bytes = await readAt(handle, entry.offset, entry.bytes, file);
        const values = new Float32Array(moment.size);
        new Uint8Array(values.buffer).set(bytes);
        moment.write(moment.dtype === 'f64' ? Float64Array.from(values) : values);
      }
  } finally {
    await handle.close();
  }
}
