import { expect, it } from 'vitest';
import { fromBf16, toBf16 } from '../../lib/runtime/bf16.ts';
import { tensor, zeros } from '../../lib/runtime/tensor.ts';
import { createAverage } from '../../lib/train/average.ts';

it('an average begins at the weights, follows them, and changes places with them and back', async () => {
  const weight = tensor(Float64Array.of(1, 2, 3, 4), [2, 2]);
  const average = createAverage([{ name: 'w', weight, gradient: weight }], 0.75);
  const held = () => average.state[0]!.tensor.read();
  expect(average.state[0]!.name).toBe('w');
  expect(await held()).toEqual(Float64Array.of(1, 2, 3, 4));
  weight.write(Float64Array.of(5, 2, 3, 0));
  average.follow();
  expect(await held()).toEqual(Float64Array.of(2, 2, 3, 3));
  average.exchange();
  expect(await weight.read()).toEqual(Float64Array.of(2, 2, 3, 3));
  expect(await held()).toEqual(Float64Array.of(5, 2, 3, 0));
  average.exchange();
  expect(await weight.read()).toEqual(Float64Array.of(5, 2, 3, 0));
  average.dispose();
});

it('an average of weights in bf16 is f32, stands in their place rounded, and gives them back to the bit', async () => {
  const bf16 = (...values: number[]) => toBf16(Float32Array.from(values));
  const narrow = tensor(bf16(1, 2, 3, 4), [2, 2]);
  const wide = tensor(Float32Array.of(8));
  const gradient = zeros('f32', [4]);
  const average = createAverage(
    [
      { name: 'n', weight: narrow, gradient },
      { name: 'w', weight: wide, gradient },
    ],
    0.999,
  );
  const held = () => average.state[0]!.tensor.read();
  expect(await held()).toEqual(Float32Array.of(1, 2, 3, 4));
  narrow.write(bf16(2, 2, 3, 0));
  wide.write(Float32Array.of(16));
  average.follow();
  const [first, , , last] = await held();
  expect(first).toBeCloseTo(1.001, 6); // between neighbours of bf16
  expect(last).toBeCloseTo(3.996, 6);
  for (let again = 0; again < 2; again++) {
    average.exchange();
    expect(fromBf16(await narrow.read())).toEqual(Float32Array.of(1, 2, 3, 4)); // the nearest
    expect((await wide.read())[0]).toBeCloseTo(8.008, 5);
    average.exchange();
    expect(await narrow.read()).toEqual(bf16(2, 2, 3, 0));
    expect(await wide.read()).toEqual(Float32Array.of(16));
    expect((await held())[0]).toBe(first);
  }
  average.dispose();
});
