import { describe, refuse, wantList, wantOptions } from '../../runtime/errors.ts';
import type { NativeUpdate } from '../../runtime/native.ts';
import type { Tensor } from '../../runtime/tensor.ts';

/**
 * An AdamW update that the engine makes: in a backward pass, where each parameter moves as soon as its gradient is finished, or with moments that are in
 * the host's memory (`zerosOnHost`) and come to the device piece by piece, or both. With the same scalars parameters and moments move by the same bits as
 * in `adamw` or `adamw8bit` over all of them.
 */
export interface ParameterUpdate extends Omit<NativeUpdate, 'pieceElements' | 'tensors'> {
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

/** What the native side takes. @throws INVALID_ARGUMENT  what no update could be made with, before anything moves */
export function nativeUpdate(update: ParameterUpdate): NativeUpdate {
  wantOptions('policy', 'update', update, [...SCALARS, 'pieceElements', 'tensors']);
  const { tensors, pieceElements = PIECE } = update;
  const scalars = Object.fromEntries(SCALARS.map((key) => [key, update[key]])) as Pick<ParameterUpdate, (typeof SCALARS)[number]>; // prettier-ignore
  for (const [key, [holds, what]] of Object.entries(DOMAINS))
    if (!holds(scalars[key as keyof typeof DOMAINS]))
      refuse('policy', `update.${key}`, `must be ${what}`, describe(scalars[key as keyof typeof DOMAINS]));
  wantList('policy', 'update.tensors', tensors);
  return {
    ...scalars,
    pieceElements,
    tensors: tensors.map((tensor, i) => {
      wantOptions('policy', `update.tensors[${i}]`, tensor, ['place', 'master', 'moments']);
      const { place, master, moments } = tensor;
      wantList('policy', `update.tensors[${i}].moments`, moments);
      return { place, master: master?.handle ?? null, moments: moments.map(({ handle }) => handle) };
    }),
  };
}

const SCALARS = ['learningRate', 'beta1', 'beta2', 'epsilon', 'weightDecay', 'step', 'gradientScale'] as const;
const from0: Domain = [(x) => Number.isFinite(x) && x >= 0, 'a number from 0'];
const decay: Domain = [(x) => x >= 0 && x < 1, 'in [0, 1)'];
type Domain = [holds: (x: number) => boolean, what: string];
const DOMAINS: Record<(typeof SCALARS)[number], Domain> = {
  learningRate: from0,
  beta1: decay,
  beta2: decay,
  epsilon: from0,
  weightDecay: from0,
  step: [(x) => Number.isSafeInteger(x) && x >= 1, 'a whole number from 1'],
  gradientScale: from0,
};
