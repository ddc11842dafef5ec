/** The nearest bf16 numbers, as bits: of two that are as near the even one; NaN stays NaN. */
export function toBf16(values: Float32Array): Uint16Array<ArrayBuffer> {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const halves = new Uint16Array(bits.length);
  for (let i = 0; i < halves.length; i++) halves[i] = rounded(bits[i]!);
  return halves;
}

/** The numbers that bf16 bits stand for, exactly. */
export function fromBf16(halves: Uint16Array): Float32Array<ArrayBuffer> {
  const values = new Float32Array(halves.length);
  const bits = new Uint32Array(values.buffer);
  for (let i = 0; i < bits.length; i++) bits[i] = halves[i]! << 16;
  return values;
}

/** Upper half of an fp32 pattern after rounding to the nearest even. */
function rounded(bits: number): number {
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 0x40; // NaN: rounding could carry it into infinity
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}
