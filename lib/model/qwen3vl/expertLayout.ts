import type { TensorShape } from './tensorNames.ts';

/** How a matrix of experts is stored: [expert, in, out] as in the releases, or [expert, out, in] as some other writers do. */
export type ExpertLayout = 'in_out' | 'out_in';

export const isExpert = (name: string): boolean => /\.mlp\.experts\.(gate_up|down)_proj$/.test(name);

/** The shape of a tensor as it is stored. */
export function storedShape({ name, shape }: TensorShape, layout: ExpertLayout): number[] {
  if (layout === 'in_out' || !isExpert(name)) return shape;
  const [experts, rows, columns] = shape as [number, number, number];
  return [experts, columns, rows];
}

/**
 * The layout of a stored tensor, by its shape. Square matrices, which do not tell, are taken as [expert, out, in], and so does the
 * reference implementation.
 */
export function layoutOf(tensor: TensorShape, stored: readonly number[] | undefined): ExpertLayout {
  return stored?.join() === storedShape(tensor, 'out_in').join() ? 'out_in' : 'in_out';
}

/** The layout of a tensor that is to be stored as in the releases, except where it would be read as the other one. */
export const layoutForReaders = ({ shape }: TensorShape): ExpertLayout => (shape[1] === shape[2] ? 'out_in' : 'in_out');

/** Matrices [experts, rows, columns] turned to [experts, columns, rows]. */
export function turned(values: Float32Array, shape: readonly number[]): Float32Array {
  const [experts, rows, columns] = shape as [number, number, number];
  const out = new Float32Array(values.length);
  for (let e = 0; e < experts; e++) {
    const at = e * rows * columns;
    for (let r = 0; r < rows; r++)
      for (let c = 0; c < columns; c++) out[at + c * rows + r] = values[at + r * columns + c]!;
  }
  return out;
}
