import { toBf16 } from '../../runtime/bf16.ts';

/** The element types that a weight file may hold, by their names there. */
export const ELEMENT_BYTES = { BF16: 2, F16: 2, F32: 4 } as const;

export type StoredDtype = keyof typeof ELEMENT_BYTES;

/** fp32 values of little-endian elements, exactly: every BF16 and F16 number is an fp32 number. */
export function widenInto(out: Float32Array, bytes: Uint8Array, dtype: StoredDtype): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (dtype === 'F32') for (let i = 0; i < out.length; i++) out[i] = view.getFloat32(4 * i, true);
  else if (dtype === 'F16') for (let i = 0; i < out.length; i++) out[i] = halfToFloat(view.getUint16(2 * i, true));
  else {
    const bits = new Uint32Array(out.buffer, out.byteOffset, out.length);
    for (let i = 0; i < bits.length; i++) bits[i] = view.getUint16(2 * i, true) << 16;
  }
}

/** Little-endian bytes of fp32 values; BF16 is rounded to the nearest, ties to even, and NaN stays NaN. */
export function narrow(values: Float32Array, dtype: 'BF16' | 'F32'): Uint8Array {
  // every platform we run on is little-endian
  if (dtype === 'F32') return new Uint8Array(values.slice().buffer as ArrayBuffer);
  return new Uint8Array(toBf16(values).buffer);
}

function halfToFloat(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >> 10) & 31;
  const fraction = half & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1024 + fraction) * 2 ** (exponent - 25);
}
