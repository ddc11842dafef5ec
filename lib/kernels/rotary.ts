import { defineKernel, flag, i32, real } from './defineKernel.ts';

/**
 * Cosines and sines of the angles by which positions turn the pairs of a head.
 *
 *   angle[s, i] = positions[axis[i], s] · inverseFrequency[i]
 *
 * With three axes (time, row, column) and an interleaved `axis` this is M-RoPE, with two the vision tower's rotary embedding. The
 * angle is rounded to the element type before its cosine is taken.
 *
 * @throws INVALID_ARGUMENT  an axis is not in [0, A)
 * @source arXiv:2104.09864, section 3.4; arXiv:2511.21631, interleaved M-RoPE
 */
export const rotaryTable = defineKernel({
  name: 'rotary_table',
  inputs: {
    positions: i32('A,S'),
    /** which axis turns frequency i */
    axis: i32('F'),
    /** radians per position */
    inverseFrequency: real('F'),
  },
  outputs: { cosine: real('S,F'), sine: real('S,F') },
  reference({ positions, axis, inverseFrequency, dims }, { cosine, sine }) {
    const { S, F } = dims as { S: number; F: number };
    for (let s = 0; s < S; s++)
      for (let i = 0; i < F; i++) {
        const angle = positions[axis[i]! * S + s]! * inverseFrequency[i]!;
        cosine[s * F + i] = Math.cos(angle);
        sine[s * F + i] = Math.sin(angle);
      }
  },
  work: ({ S, F }) => ({ bytes: 8 * S! * F!, flops: 40 * S! * F! }),
});

/**
 * Rotates every head of x in place, by the angles of its row.
 *
 *   x₁ ← x₁·c − x₂·s      x₂ ← x₂·c + x₁·s      x₁, x₂ the halves of a head
 *
 * Element i is paired with i + F, not with its neighbour. `inverse` turns back; as a rotation is orthogonal, that is also the
 * gradient.
 *
 * @source arXiv:2104.09864, section 3.4
 */
export const rotary = defineKernel({
  name: 'rotary',
  inputs: { cosine: real('S,F'), sine: real('S,F') },
  updates: { x: real('S,N,2*F') },
  scalars: { inverse: flag(false) },
  outputs: {},
  reference({ cosine, sine, x, inverse, dims }) {
    const { S, N, F } = dims as { S: number; N: number; F: number };
    for (let s = 0; s < S; s++)
      for (let n = 0; n < N; n++)
        for (let i = 0; i < F; i++) {
          const first = (s * N + n) * 2 * F + i;
          const second = first + F;
          const c = cosine[s * F + i]!;
          const turn = inverse ? -sine[s * F + i]! : sine[s * F + i]!;
          [x[first], x[second]] = [x[first]! * c - x[second]! * turn, x[second]! * c + x[first]! * turn];
        }
  },
  work: ({ S, N, F }) => ({ bytes: 8 * S! * F! * (2 * N! + 1), flops: 6 * S! * N! * F! }),
});
