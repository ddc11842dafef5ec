import { open } from 'node:fs/promises';
import { readAt, readTensorEntries } from '../model/qwen3vl/safetensors.ts';
import { widenInto } from '../model/qwen3vl/weightFormat.ts';
import { writeSafetensors, writtenBytes, writtenDtype } from '../model/qwen3vl/writeSafetensors.ts';
import { G2rpoError } from '../runtime/errors.ts';
import type { StateTensor } from './optimizer.ts';

/** Tensors that belong to a run beside the weights as one safetensors file, reals in f32. */
export const writeState = (file: string, state: readonly StateTensor[]): Promise<void> =>
  writeSafetensors(
    file,
    state.map(({ name, tensor }) => ({ name, shape: [tensor.size], tensor })),
  );

/**
 * Writes the values of a file back into the same tensors.
 *
 * @throws INVALID_CHECKPOINT  the file is of others
 */
export async function readState(file: string, state: readonly StateTensor[]): Promise<void> {
  const handle = await open(file);
  try {
    const entries = await readTensorEntries(handle, file, { U8: 1 });
    for (const { name, tensor } of state) {
      const entry = entries.get(name);
      const dtype = writtenDtype(tensor);
      if (entry?.dtype !== dtype || entry.bytes !== writtenBytes(tensor))
        throw new G2rpoError(
          'INVALID_CHECKPOINT',
          `${file}: ${name} must be ${dtype} [${tensor.size}]; got ${entry ? `${entry.dtype} [${entry.shape.join(', ')}]` : 'nothing'}`,
          { file, tensor: name },
        );
      const bytes = new Uint8Array(await readAt(handle, entry.offset, entry.bytes, file));
      if (dtype !== 'F32') {
        tensor.write(dtype === 'U8' ? bytes : new Uint16Array(bytes.buffer));
        continue;
      }
      const values = new Float32Array(tensor.size);
      widenInto(values, bytes, dtype);
      tensor.write(tensor.dtype === 'f64' ? Float64Array.from(values) : values);
    }
  } finally {
    await handle.close();
  }
}
