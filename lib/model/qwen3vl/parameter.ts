import { tensor, type Tensor } from '../../runtime/tensor.ts';

/** A tensor of weights, and its gradient if it is trained. */
export interface Parameter {
  name: string;
  shape: readonly number[];
  weight: Tensor<'f32' | 'f64'>;
  gradient: Tensor<'f32' | 'f64'> | undefined;
}

/** A tensor that an optimizer changes; `forwardBackward` adds to its gradient. */
export interface TrainedParameter extends Parameter {
  gradient: Tensor<'f32' | 'f64'>;
}

/** f32 values as a tensor of the policy's type. */
export const realTensor = (
  dtype: 'f32' | 'f64',
  values: Float32Array<ArrayBuffer>,
  shape: readonly number[],
): Tensor<'f32' | 'f64'> => (dtype === 'f64' ? tensor(Float64Array.from(values), shape) : tensor(values, shape));
