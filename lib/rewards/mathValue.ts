/** Numbers as the comparison of answers wants them: exact fractions as long as that is possible, then reals. */
export type Value = { n: bigint; d: bigint } | number;

const MAX_BITS = 20_000; // beyond this a fraction costs more than it tells, and becomes a real

export function rational(n: bigint, d = 1n): Value {
  if (d === 0n) return NaN;
  const divisor = gcd(n < 0n ? -n : n, d < 0n ? -d : d) * (d < 0n ? -1n : 1n);
  const value = { n: n / divisor, d: d / divisor };
  return bits(value.n) + bits(value.d) > MAX_BITS ? toReal(value) : value;
}

/** The exact value of digits such as "12.50". */
export function decimal(text: string): Value {
  const [whole, fraction = ''] = text.split('.');
  return rational(BigInt(`${whole}${fraction}` || '0'), 10n ** BigInt(fraction.length));
}

export function toReal(value: Value): number {
  if (typeof value === 'number') return value;
  const shift = BigInt(Math.max(0, Math.max(bits(value.n), bits(value.d)) - 1000));
  return Number(value.n >> shift) / Number(value.d >> shift);
}

export function add(a: Value, b: Value): Value {
  if (typeof a === 'object' && typeof b === 'object') return rational(a.n * b.d + b.n * a.d, a.d * b.d);
  return real((x, y) => x + y, a, b);
}

export function multiply(a: Value, b: Value): Value {
  if (typeof a === 'object' && typeof b === 'object') return rational(a.n * b.n, a.d * b.d);
  return real((x, y) => x * y, a, b);
}

export function divide(a: Value, b: Value): Value {
  if (typeof a === 'object' && typeof b === 'object') return b.n === 0n ? NaN : rational(a.n * b.d, a.d * b.n);
  return toReal(b) === 0 ? NaN : real((x, y) => x / y, a, b);
}

/** Exact for whole exponents and for square roots of squares; NaN where the result is not real. */
export function power(a: Value, b: Value): Value {
  if (typeof a === 'object' && typeof b === 'object') {
    const size = b.n < 0n ? -b.n : b.n;
    if (b.d === 1n && size * BigInt(bits(a.n) + bits(a.d)) <= BigInt(MAX_BITS))
      return b.n < 0n ? divide(rational(1n), rational(a.n ** size, a.d ** size)) : rational(a.n ** size, a.d ** size);
    if (b.d === 2n && a.n >= 0n) {
      const [n, d] = [squareRoot(a.n), squareRoot(a.d)];
      if (n !== undefined && d !== undefined) return power(rational(n, d), rational(b.n));
    }
    if (a.n < 0n && b.d % 2n === 1n) {
      const magnitude = Math.pow(-toReal(a), toReal(b)); // an odd root of a negative number is real
      return finite(b.n % 2n === 0n ? magnitude : -magnitude);
    }
  }
  return real(Math.pow, a, b);
}

/** A real function of values; an overflow is NaN, because only an infinity that was written down is infinite. */
export function real(f: (...x: number[]) => number, ...values: Value[]): number {
  const inputs = values.map(toReal);
  const result = f(...inputs);
  return inputs.every(Number.isFinite) ? finite(result) : result;
}

/** Exact values must be equal, others agree to nine digits. */
export function equalValues(a: Value, b: Value): boolean {
  if (typeof a === 'object' && typeof b === 'object') return a.n === b.n && a.d === b.d;
  return near(toReal(a), toReal(b), 1e-9); // f64 leaves about 1e-15 per operation; nine digits is what a person would write
}

/** Agreement relative to the larger, or absolutely below 1e-13, which is what is left of sin π. */
export function near(x: number, y: number, tolerance: number): boolean {
  if (!Number.isFinite(x) || !Number.isFinite(y)) return x === y;
  return Math.abs(x - y) <= Math.max(tolerance * Math.max(Math.abs(x), Math.abs(y)), 1e-13);
}

function finite(x: number): number {
  return Number.isFinite(x) ? x : NaN;
}

function bits(x: bigint): number {
  return x.toString(16).length * 4;
}

function gcd(a: bigint, b: bigint): bigint {
  while (b !== 0n) [a, b] = [b, a % b];
  return a === 0n ? 1n : a;
}

function squareRoot(x: bigint): bigint | undefined {
  if (x < 2n) return x;
  let root = 1n << BigInt((bits(x) >> 1) + 1);
  for (;;) {
    const next = (root + x / root) >> 1n;
    if (next >= root) return root * root === x ? root : undefined;
    root = next;
  }
}
