import fc from 'fast-check';
import { expect, it } from 'vitest';
import { segments } from '../../lib/algorithms/index.ts';

it('brings equal labels together and puts values back', () => {
  const by = segments([5, 2, 5, 9, 2]);
  expect([...by.order]).toEqual([0, 2, 1, 4, 3]);
  expect([...by.starts]).toEqual([0, 2, 4, 5]);
  const values = Float64Array.of(0, 1, 2, 3, 4);
  expect([...by.sort(values)]).toEqual([0, 2, 1, 4, 3]);
  expect([...by.restore(by.sort(values))]).toEqual([...values]);
  expect([...segments([]).starts]).toEqual([0]);
});

it('does the same for small labels as for large and negative ones', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(9), { maxLength: 40 }), (labels) => {
      const [small, large] = [segments(labels), segments(labels.map((label) => label * 1e8 - 7))];
      expect(large.order).toEqual(small.order);
      expect(large.starts).toEqual(small.starts);
      expect(large.segmentOf).toEqual(small.segmentOf);
    }),
  );
});
