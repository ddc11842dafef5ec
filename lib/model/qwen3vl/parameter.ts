import { fromBf16 } from '../../runtime/bf16.ts';
import { tensor, type Tensor } from '../../runtime/tensor.ts';

/** What a policy computes with. */
export type Real = 'f32' | 'f64';

/** A tensor of weights, and its gradient if it is trained and gradients are kept. */
export interface Parameter {
  name: string;
  shape: readonly number[];
  /** bf16 only where the policy computes in f32 */
  weight: Tensor<Real | 'bf16'>;
  gradient: Tensor<Real> | undefined;
}

/** A tensor that an optimizer changes; `forwardBackward` adds to its gradient or writes it, and it is undefined where gradients are not kept. */
export type TrainedParameter = Parameter;

/** f32 values as a tensor of the policy's type. */
export const realTensor = (dtype: Real, values: Float32Array<ArrayBuffer>, shape: readonly number[]): Tensor<Real> =>
  dtype === 'f64' ? tensor(Float64Array.from(values), shape) : tensor(values, shape);

/** What the values of a weight are computed in. */
export const realOf = ({ dtype }: Tensor<Real | 'bf16'>): Real => (dtype === 'bf16' ? 'f32' : dtype);

/** The values of a weight in f32. */
export async function readWide(weight: Tensor<Real | 'bf16'>): Promise<Float32Array> {
  const values = await weight.read();
  return values instanceof Uint16Array ? fromBf16(values) : Float32Array.from(values);
}

/**
 * Whether a weight may be kept in bf16: matrices that rows are multiplied by or looked up in. Norms, biases, the tower's table of
 * positions and routers are small beside them and stay f32.
 */
export const isMatrix = ({ name, shape }: { name: string; shape: readonly number[] }): boolean =>
  shape.length > 1 && !name.endsWith('.pos_embed.weight') && !name.endsWith('.mlp.gate.weight');
