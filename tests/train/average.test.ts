import { expect, it } from 'vitest';
import { tensor } from '../../lib/runtime/tensor.ts';
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
