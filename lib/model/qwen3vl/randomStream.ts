/**
 * The pseudo-random 64-bit words of a named stream, as pairs of 32-bit halves: splitmix64 counted from a hash of the name.
 *
 *   z = fnv1a64(name) + (i + 1) · 0x9E3779B97F4A7C15
 *   z = (z ^ z>>30) · 0xBF58476D1CE4E5B9      z = (z ^ z>>27) · 0x94D049BB133111EB      z = z ^ z>>31
 *
 * Word i is a pure function of name and i. Arithmetic is modulo 2⁶⁴, in 32-bit halves.
 *
 * @param visit called with i = 0 … count − 1 and the halves as unsigned integers
 * @source Steele, Lea, Flood, "Fast splittable pseudorandom number generators"
 */
export function eachWord(name: string, count: number, visit: (i: number, high: number, low: number) => void): void {
  let [stateHigh, stateLow] = fnv1a64(name);
  for (let i = 0; i < count; i++) {
    const sum = stateLow + 0x7f4a7c15;
    stateHigh = (stateHigh + 0x9e3779b9 + (sum > 0xffffffff ? 1 : 0)) >>> 0;
    stateLow = sum >>> 0;
    let low = (stateLow ^ ((stateLow >>> 30) | (stateHigh << 2))) >>> 0;
    let high = (stateHigh ^ (stateHigh >>> 30)) >>> 0;
    high = (multiplyHigh(low, 0x1ce4e5b9) + Math.imul(high, 0x1ce4e5b9) + Math.imul(low, 0xbf58476d)) >>> 0;
    low = Math.imul(low, 0x1ce4e5b9) >>> 0;
    low = (low ^ ((low >>> 27) | (high << 5))) >>> 0;
    high = (high ^ (high >>> 27)) >>> 0;
    high = (multiplyHigh(low, 0x133111eb) + Math.imul(high, 0x133111eb) + Math.imul(low, 0x94d049bb)) >>> 0;
    low = Math.imul(low, 0x133111eb) >>> 0;
    low = (low ^ ((low >>> 31) | (high << 1))) >>> 0;
    high = (high ^ (high >>> 31)) >>> 0;
    visit(i, high, low);
  }
}

/** Upper 32 bits of the product of two unsigned 32-bit integers. */
function multiplyHigh(a: number, b: number): number {
  const aHigh = a >>> 16;
  const aLow = a & 0xffff;
  const bHigh = b >>> 16;
  const bLow = b & 0xffff;
  const middle = (aHigh * bLow + ((aLow * bLow) >>> 16)) >>> 0;
  const crossed = (aLow * bHigh + (middle & 0xffff)) >>> 0;
  return aHigh * bHigh + (middle >>> 16) + (crossed >>> 16);
}

/** FNV-1a of the UTF-8 bytes of `text`, as upper and lower half. */
function fnv1a64(text: string): [number, number] {
  let [high, low] = [0xcbf29ce4, 0x84222325];
  for (const byte of new TextEncoder().encode(text)) {
    low = (low ^ byte) >>> 0;
    // the prime is 2⁴⁰ + 0x1b3
    high = (multiplyHigh(low, 0x1b3) + Math.imul(high, 0x1b3) + (low << 8)) >>> 0;
    low = Math.imul(low, 0x1b3) >>> 0;
  }
  return [high, low];
}
