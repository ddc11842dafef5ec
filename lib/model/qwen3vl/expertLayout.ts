import type { TensorShape } from './tensorNames.ts';

/** How a matrix of experts is stored: [expert, in, out] as in the releases, or [expert, out, in] as some other writers do. */
export type ExpertLayout = 'in_out' | 'out_in';

export const isExpert = (name: string): boolean => /\.mlp\.experts\.(gate_up|down)_proj$/.test(name);

const isTurned = (name: string, layout: ExpertLayout): boolean => layout === 'out_in' && isExpert(name);

/** The shape of a tensor as it is stored. */
export function storedShape({ name, shape }: TensorShape, layout: ExpertLayout): number[] {
  if (!isTurned(name, layout)) return shape;
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

/** Values between [expert, in, out] and the way they are stored, either way: experts [e, rows, columns] as [e, columns, rows], or as they are. */
export function turned<A extends Float32Array | Uint16Array>(
  values: A,
  { name, shape }: { name: string; shape: readonly number[] },
  layout: ExpertLayout,
): A {
  if (!isTurned(name, layout)) return values;
  const [experts, rows, columns] = shape as [number, number, number];
  const out = values.slice() as A;
  for (let e = 0; e < experts; e++) {
    const at = e * rows * columns;
    for (let r = 0; r < rows; r++)
      for (let c = 0; c < columns; c++) out[at + c * rows + r] = values[at + r * columns + c]!;
  }
  return out;
}
