import type { NativeUpdate } from '../../runtime/native.ts';
import type { Tensor } from '../../runtime/tensor.ts';

/**
 * An AdamW update that the backward pass makes: each parameter moves as soon as its gradient is finished, and the gradient's memory is given
 * back. With the same scalars it moves by the same bits as `adamw` or `adamw8bit` over all of them afterwards.
 */
export interface ParameterUpdate {
  learningRate: number;
  beta1: number;
  beta2: number;
  epsilon: number;
  weightDecay: number;
  /** this update's number, from 1 */
  step: number;
  /** of every tensor of the policy's `trained`, in its order */
  tensors: readonly {
    /** among the tensors of its type: its random numbers go by it */
    place: number;
    /** what moves instead of a weight in bf16, which becomes the nearest */
    master: Tensor | undefined;
    /** first and second, or the codes of both and then their scales */
    moments: readonly Tensor[];
  }[];
}

export const nativeUpdate = ({ tensors, ...scalars }: ParameterUpdate): NativeUpdate => ({
  ...scalars,
  tensors: tensors.map(({ place, master, moments }) => ({
    place,
    master: master?.handle ?? null,
    moments: moments.map(({ handle }) => handle),
  })),
});
