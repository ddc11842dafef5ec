import type { NativeUpdate } from '../../runtime/native.ts';
import type { Tensor } from '../../runtime/tensor.ts';

/**
 * An AdamW update that the engine makes: in a backward pass, where each parameter moves as soon as its gradient is finished, or with moments that are in
 * the host's memory (`zerosOnHost`) and come to the device piece by piece, or both. With the same scalars parameters and moments move by the same bits as
 * in `adamw` or `adamw8bit` over all of them.
 */
export interface ParameterUpdate {
  learningRate: number;
  beta1: number;
  beta2: number;
  epsilon: number;
  weightDecay: number;
  /** this update's number, from 1 */
  step: number;
  /** what clipping multiplies gradients with; 1 in a backward pass */
  gradientScale: number;
  /** elements whose moments come from the host's memory at a time, while those before them go back; a multiple of 256, default 2²⁴ */
  pieceElements?: number;
  /** of every tensor of the policy's `trained`, in its order; all that is kept of one is on the device, or in the host's memory */
  tensors: readonly {
    /** among the tensors of its type: its random numbers go by it */
    place: number;
    /** what moves instead of a weight in bf16, which becomes the nearest */
    master: Tensor | undefined;
    /** first and second, or the codes of both and then their scales */
    moments: readonly Tensor[];
  }[];
}

/** Two pieces are on the device at a time. */
export const PIECE = 2 ** 24;

export const nativeUpdate = ({ tensors, pieceElements = PIECE, ...scalars }: ParameterUpdate): NativeUpdate => ({
  ...scalars,
  pieceElements,
  tensors: tensors.map(({ place, master, moments }) => ({
    place,
    master: master?.handle ?? null,
    moments: moments.map(({ handle }) => handle),
  })),
});
