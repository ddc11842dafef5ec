import { G2rpoError } from '../runtime/errors.ts';
import type { DType } from '../runtime/tensor.ts';

/** Dimension names and their sizes. */
export type Dims = Record<string, number>;

/** A tensor argument as declared: its possible element types, its dimensions ("B", "S+1", "3"), whether it may be left out. */
export interface TensorSpec<D extends DType = DType> {
  readonly kind: 'tensor';
  readonly dtypes: readonly D[];
  readonly dims: readonly string[];
  readonly optional: boolean;
  /** a list of flat tensors; dimensions are of each, and those of one place in several lists agree */
  readonly list: boolean;
}
type ScalarType = 'f64' | 'i32' | 'bool';
type ScalarDefault = number | boolean | undefined;
export interface ScalarSpec<K extends ScalarType = ScalarType, V extends ScalarDefault = ScalarDefault> {
  readonly kind: 'scalar';
  readonly type: K;
  readonly default: V;
}

function spec<D extends DType>(dtypes: readonly D[]) {
  return <S extends string>(
    shape: S,
  ): TensorSpec<D> & { readonly optional: S extends `${string}?` ? true : false; readonly list: false } => ({
    kind: 'tensor',
    dtypes,
    dims: shape.replace(/\?$/, '').split(','),
    optional: shape.endsWith('?') as never,
    list: false,
  });
}

/** Declares a tensor: `f32('N,H')`; a trailing `?` makes it optional. */
export const f32 = spec(['f32']);
export const f64 = spec(['f64']);
export const i32 = spec(['i32']);
export const u8 = spec(['u8']);
export const bf16 = spec(['bf16']);
/** f32 or f64; all arguments declared so must agree. */
export const real = spec(['f32', 'f64']);
/** As `real`, or bf16 where the reals are f32: what weights may be kept in. All arguments declared so must agree. */
export const stored = spec(['f32', 'f64', 'bf16']);

/** Declares a list of flat tensors, as in `many(real('N'))`: one launch for all of them. */
export const many = <S extends TensorSpec>(one: S): Omit<S, 'list'> & { readonly list: true } => ({
  ...one,
  list: true,
});

/** Declares a scalar: with a default it may be left out. */
const scalar =
  <K extends ScalarType, Given extends number | boolean>(type: K) =>
  <V extends Given | undefined = undefined>(value?: V): ScalarSpec<K, V> => ({
    kind: 'scalar',
    type,
    default: value as V,
  });
export const number = scalar<'f64', number>('f64');
export const integer = scalar<'i32', number>('i32');
export const flag = scalar<'bool', boolean>('bool');

/** Whether an argument is one of `stored`. */
export const isStored = ({ dtypes }: TensorSpec): boolean => dtypes.length > 1 && dtypes.includes('bf16');

const typeText = (t: TensorSpec) => (t.dtypes.length > 1 ? `{${t.dtypes.join('|')}}` : t.dtypes[0]);
/** `rewards f64[B]`, as in the C++ signature. */
export const specText = (name: string, s: TensorSpec | ScalarSpec): string =>
  s.kind === 'scalar'
    ? `${name} ${s.type}`
    : `${name} ${typeText(s)}[${s.dims.join(',')}]${s.list ? '*' : ''}${s.optional ? '?' : ''}`;

/** factor · the size called `name` + offset; without a name, the offset. */
interface Dim {
  name?: string;
  factor: number;
  offset: number;
}

/** The size that it stands for, or undefined while its name is unknown. */
function evaluate({ name, factor, offset }: Dim, dims: Dims): number | undefined {
  if (name === undefined) return offset;
  const value = dims[name];
  return value === undefined ? undefined : value * factor + offset;
}

const parsed = new Map<string, Dim>();

/** A dimension like "S+1". */
function parseDim(dim: string): Dim {
  let found = parsed.get(dim);
  if (!found) parsed.set(dim, (found = parseNewDim(dim)));
  return found;
}

function parseNewDim(dim: string): Dim {
  if (/^\d+$/.test(dim)) return { factor: 0, offset: Number(dim) };
  const m = /^(\d+\*)?([A-Za-z]\w*)([+-]\d+)?$/.exec(dim);
  if (!m) throw new G2rpoError('INTERNAL', `a dimension must look like B, S+1, 2*D or 3; got ${dim}`);
  return { name: m[2]!, factor: m[1] ? Number.parseInt(m[1]) : 1, offset: Number(m[3] ?? 0) };
}

/** Binds the dimensions of one argument, or says with what it disagrees. */
export function bindDims(kernel: string, name: string, s: TensorSpec, shape: readonly number[], dims: Dims): void {
  const refuse = (): never => {
    const known = Object.entries(dims).map(([k, v]) => `${k} = ${v}`);
    throw new G2rpoError(
      'SHAPE_MISMATCH',
      `${kernel}: ${specText(name, s).replace(' ', ' must be ')}${known.length ? ` with ${known.join(', ')}` : ''}; got [${shape.join(', ')}]`,
      { kernel, argument: name, wanted: s.dims, got: shape },
    );
  };
  if (shape.length !== s.dims.length) refuse();
  s.dims.forEach((text, i) => {
    const got = shape[i]!;
    const dim = parseDim(text);
    const wanted = evaluate(dim, dims);
    if (wanted !== undefined) {
      if (wanted !== got) refuse();
      return;
    }
    const value = (got - dim.offset) / dim.factor;
    if (!Number.isInteger(value) || value < 0) refuse();
    dims[dim.name!] = value;
  });
}

/** The shape of an output, once every dimension is known. */
export function shapeOf(kernel: string, name: string, s: TensorSpec, dims: Dims): number[] {
  return s.dims.map((dim) => {
    const size = evaluate(parseDim(dim), dims);
    if (size === undefined)
      throw new G2rpoError('INTERNAL', `${kernel}: no input tells the dimension ${dim} of ${name}`);
    return size;
  });
}
