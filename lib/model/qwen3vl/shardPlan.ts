import { G2rpoError } from '../../runtime/errors.ts';
import { elementCount, type TensorShape } from './tensorNames.ts';
import { ELEMENT_BYTES } from './weightFormat.ts';
import { safetensorsHeader } from './writeSafetensors.ts';

/** A weight file before it is written. */
export interface PlannedFile {
  name: string;
  /** its first bytes, header length included */
  header: Buffer;
  /** where in the file each tensor begins */
  tensors: { name: string; offset: number }[];
}

/** Assigns tensors, as they are stored, to files in their order, a new one where the next tensor would exceed the limit. */
export function planFiles(stored: readonly TensorShape[], dtype: 'BF16' | 'F32', maxBytes: number): PlannedFile[] {
  if (!(maxBytes > 0)) throw new G2rpoError('INVALID_ARGUMENT', `maxShardBytes must be positive; got ${maxBytes}`);
  const shards: { name: string; shape: number[]; bytes: number }[][] = [[]];
  let used = 0;
  for (const { name, shape } of stored) {
    const bytes = elementCount(shape) * ELEMENT_BYTES[dtype];
    if (used > 0 && used + bytes > maxBytes) {
      shards.push([]);
      used = 0;
    }
    shards.at(-1)!.push({ name, shape, bytes });
    used += bytes;
  }
  const number = (k: number) => String(k).padStart(5, '0');
  return shards.map((shard, k) => {
    const tensors = shard.map((tensor) => ({ ...tensor, dtype }));
    const header = safetensorsHeader(tensors, { format: 'pt' });
    let at = header.length;
    return {
      name:
        shards.length === 1 ? 'model.safetensors' : `model-${number(k + 1)}-of-${number(shards.length)}.safetensors`,
      header,
      tensors: shard.map(({ name, bytes }) => ({ name, offset: (at += bytes) - bytes })),
    };
  });
}

/** The index that says which file holds which tensor. */
export function indexOf(plan: PlannedFile[], stored: readonly TensorShape[], dtype: 'BF16' | 'F32'): string {
  const total = stored.reduce((sum, { shape }) => sum + elementCount(shape), 0) * ELEMENT_BYTES[dtype];
  const map = Object.fromEntries(plan.flatMap(({ name, tensors }) => tensors.map((tensor) => [tensor.name, name])));
  return `${JSON.stringify({ metadata: { total_size: total }, weight_map: map }, null, 2)}\n`;
}
