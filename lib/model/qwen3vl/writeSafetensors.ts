import { open } from 'node:fs/promises';
import type { Tensor } from '../../runtime/tensor.ts';

/** A tensor to be written under a name; f64 is written as f32. */
export interface WrittenTensor {
  name: string;
  shape: readonly number[];
  tensor: Tensor<'f32' | 'f64' | 'u8'>;
}

/** Bytes of a tensor in a file. */
export const writtenBytes = ({ dtype, size }: WrittenTensor['tensor']): number => (dtype === 'u8' ? 1 : 4) * size;

/** Writes tensors, one after the other, as one safetensors file: f32, and u8 as it is; on the disk when it returns. */
export async function writeSafetensors(
  file: string,
  tensors: readonly WrittenTensor[],
  metadata?: Record<string, string>,
): Promise<void> {
  const header: Record<string, unknown> = metadata ? { __metadata__: metadata } : {};
  let end = 0;
  for (const { name, shape, tensor } of tensors) {
    const begin = end;
    end += writtenBytes(tensor);
    header[name] = { dtype: tensor.dtype === 'u8' ? 'U8' : 'F32', shape, data_offsets: [begin, end] };
  }
  const json = JSON.stringify(header);
  const text = Buffer.from(json.padEnd(Math.ceil(json.length / 8) * 8));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  const handle = await open(file, 'w');
  try {
    await handle.writeFile(Buffer.concat([length, text]));
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
