import { expect, it } from 'vitest';
import { philox4x32 } from '../../lib/kernels/philox.ts';

const hex = (words: readonly number[]) => words.map((x) => x.toString(16).padStart(8, '0')).join(' ');

it('gives the published words of all zeros and all ones', () => {
  expect(hex(philox4x32([0, 0, 0, 0], [0, 0]))).toBe('6627e8d5 e169c58d bc57ac4c 9b00dbd8');
  const ones = 0xffffffff;
  expect(hex(philox4x32([ones, ones, ones, ones], [ones, ones]))).toBe('408f276d 41c83b0e a20bc7c6 6d5451fd');
});

it('takes words as signed numbers too', () => {
  expect(philox4x32([-1, -1, -1, -1], [-1, -1])).toEqual(
    philox4x32([2 ** 32 - 1, -1, 2 ** 32 - 1, -1], [-1, 2 ** 32 - 1]),
  );
});
