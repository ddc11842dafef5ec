import { open } from 'node:fs/promises';
import type { Tensor } from '../../runtime/tensor.ts';

/** A tensor to be written under a name; f64 is written as f32. */
export interface WrittenTensor {
  name: string;
  shape: readonly number[];
  tensor: Tensor<'f32' | 'f64' | 'u8' | 'bf16'>;
}

/** Bytes of a tensor in a file. */
export const writtenBytes = ({ dtype, size }: WrittenTensor['tensor']): number =>
  (dtype === 'u8' ? 1 : dtype === 'bf16' ? 2 : 4) * size;

/** Its element type there. */
export const writtenDtype = ({ dtype }: WrittenTensor['tensor']) =>
  dtype === 'u8' ? 'U8' : dtype === 'bf16' ? 'BF16' : 'F32';

/** The first bytes of a safetensors file whose tensors lie one after the other, its length included. Names are ASCII. */
export function safetensorsHeader(
  tensors: readonly { name: string; dtype: string; shape: readonly number[]; bytes: number }[],
  metadata?: Record<string, string>,
): Buffer {
  const header: Record<string, unknown> = metadata ? { __metadata__: metadata } : {};
  let at = 0;
  for (const { name, dtype, shape, bytes } of tensors)
    header[name] = { dtype, shape, data_offsets: [at, (at += bytes)] };
  const json = JSON.stringify(header);
  const text = Buffer.from(json.padEnd(Math.ceil(json.length / 8) * 8));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text]);
}

/** Writes tensors, one after the other, as one safetensors file: f32, and u8 and bf16 as they are; on the disk when it returns. */
export async function writeSafetensors(
  file: string,
  tensors: readonly WrittenTensor[],
  metadata?: Record<string, string>,
): Promise<void> {
  const entries = tensors.map(({ name, shape, tensor }) => ({
    name,
    shape,
    dtype: writtenDtype(tensor),
    bytes: writtenBytes(tensor),
  }));
  const handle = await open(file, 'w');
  try {
    await handle.writeFile(safetensorsHeader(entries, metadata));
    for (const { tensor } of tensors) {
      const read = await tensor.read();
      const values = read instanceof Float64Array ? Float32Array.from(read) : read;
      await handle.writeFile(Buffer.from(values.buffer, values.byteOffset, values.byteLength));
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
}
