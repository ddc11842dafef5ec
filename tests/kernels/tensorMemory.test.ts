import { expect, it } from 'vitest';
import { tensor } from '../../lib/runtime/tensor.ts';

it('memory that threads share is copied', async () => {
  const shared = new Float32Array(new SharedArrayBuffer(8)) as unknown as Float32Array<ArrayBuffer>;
  shared.set([1, 2]);
  const t = tensor(shared);
  shared.set([5, 6]);
  expect(await t.read()).toEqual(Float32Array.of(1, 2));
  t.write(shared);
  expect(await t.read()).toEqual(Float32Array.of(5, 6));
  t.dispose();
});
