import { describe, expect, it } from 'vitest';
import { fromBf16, toBf16 } from '../../lib/runtime/bf16.ts';
import { tensor, zeros } from '../../lib/runtime/tensor.ts';

const one = (x: number) => fromBf16(toBf16(Float32Array.of(x)))[0]!;

describe('rounding to bf16', () => {
  it('leaves every bf16 number as it is, bit by bit', () => {
    const all = Uint16Array.from({ length: 2 ** 16 }, (_, i) => i);
    const back = toBf16(fromBf16(all));
    const signalling = (bits: number) => (bits & 0x7fff) > 0x7f80 && (bits & 0x40) === 0; // becomes a quiet NaN
    expect(back).toEqual(all.map((bits) => (signalling(bits) ? bits | 0x40 : bits)));
  });
  it('goes to the nearest, and of two that are as near to the even one', () => {
    expect(one(1 + 2 ** -8)).toBe(1); // halfway between 1 and 1 + 2⁻⁷
    expect(one(1 + 3 * 2 ** -8)).toBe(1 + 2 ** -6);
    expect(one(1 + 2 ** -8 + 2 ** -20)).toBe(1 + 2 ** -7);
    expect(one(-(1 + 2 ** -8 - 2 ** -20))).toBe(-1);
    expect(one(2 ** -134)).toBe(0); // half of the least
    expect(one(2 ** -134 + 2 ** -149)).toBe(2 ** -133);
    expect(Object.is(one(-0), -0)).toBe(true);
  });
  it('is infinite past the largest, and NaN stays NaN whatever its bits', () => {
    expect(one(3.4e38)).toBe(Infinity);
    const nan = new Float32Array(Uint32Array.of(0x7f800001, 0xffffffff).buffer);
    expect([...fromBf16(toBf16(nan))].every(Number.isNaN)).toBe(true);
  });
  it('converts a view into a larger array alone', () => {
    expect([...fromBf16(toBf16(Float32Array.of(9, 1, 2, 9).subarray(1, 3)))]).toEqual([1, 2]);
  });
});

it('a tensor of bf16 goes to the device and back as bits', async () => {
  const bits = Uint16Array.of(0x3f80, 0xc000, 1);
  const t = tensor(bits);
  expect(`${t}`).toBe('bf16[3]');
  expect(await t.read()).toEqual(bits);
  t.write(Uint16Array.of(7, 8, 9));
  expect([...(await t.read())]).toEqual([7, 8, 9]);
  expect(() => t.write(new Float32Array(3))).toThrow('bf16[3] was wanted; got f32');
  expect([...(await zeros('bf16', [2, 2]).read())]).toEqual([0, 0, 0, 0]);
});
