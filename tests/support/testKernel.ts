import { describe, expect, it } from 'vitest';
import type { Kernel, TensorSpec } from '../../lib/kernels/defineKernel.ts';
import { bindDims, isStored, shapeOf, type Dims } from '../../lib/kernels/signature.ts';
import { fromBf16, toBf16 } from '../../lib/runtime/bf16.ts';
import { Scope, tensor, type DType, type Tensor, type TypedArray } from '../../lib/runtime/tensor.ts';
import { productsRound } from './onCpu.ts';

/** Numbers, nested as deep as the argument has dimensions; or a scalar. */
export type Nested = number | boolean | readonly Nested[] | TypedArray | undefined;
export type Case = Record<string, Nested>;

const ARRAYS = { f32: Float32Array, f64: Float64Array, i32: Int32Array, u8: Uint8Array } as const;
// eslint-disable-next-line @typescript-eslint/no-explicit-any -- any kernel, whatever its arguments
type AnyKernel = Kernel<any, any, any, any>;

/** A nested list with its shape; an array made by `shaped` carries it. */
function flatten(value: Nested): { data: number[]; shape: number[] } {
  if (ArrayBuffer.isView(value)) {
    const shape = (value as { shape?: number[] }).shape;
    return { data: Array.from(value as TypedArray), shape: shape ?? [value.length] };
  }
  if (!Array.isArray(value)) return { data: [Number(value)], shape: [] };
  const parts = value.map((v) => flatten(v as Nested));
  return { data: parts.flatMap((p) => p.data), shape: [value.length, ...(parts[0]?.shape ?? [])] };
}

/** Gives a typed array a shape, so that large random tensors need not be nested lists. */
export const shaped = <A extends TypedArray>(array: A, ...shape: number[]): A => Object.assign(array, { shape });

/** Pseudo-random numbers in [−1, 1), the same on every machine. */
export function randoms(seed: number, ...shape: number[]): Float64Array<ArrayBuffer> {
  let x = (seed * 2654435761 + 1) >>> 0;
  const out = new Float64Array(shape.reduce((n, d) => n * d, 1));
  for (let i = 0; i < out.length; i++) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    x >>>= 0;
    out[i] = x / 2 ** 31 - 1;
  }
  return shaped(out, ...shape);
}

interface Prepared {
  dims: Dims;
  arrays: Record<string, { data: number[]; shape: number[] }>;
  lists: Record<string, { data: number[]; shape: number[] }[]>;
  scalars: Record<string, number | boolean>;
}
function prepare(kernel: AnyKernel, c: Case): Prepared {
  const d = kernel.declaration;
  const dims: Dims = {};
  const arrays: Prepared['arrays'] = {};
  const lists: Prepared['lists'] = {};
  for (const [name, spec] of Object.entries({ ...d.inputs, ...d.updates } as Record<string, TensorSpec>)) {
    if (c[name] === undefined) continue;
    if (spec.list) {
      lists[name] = (c[name] as Nested[]).map(flatten);
      continue;
    }
    arrays[name] = flatten(c[name]);
    if (arrays[name].shape.length === 1 && spec.dims.length > 1 && arrays[name].data.length === 0)
      arrays[name].shape = spec.dims.map(() => 0);
    bindDims(d.name, name, spec, arrays[name].shape, dims);
  }
  const scalars: Prepared['scalars'] = {};
  for (const [name, spec] of Object.entries((d.scalars ?? {}) as Record<string, { default?: number | boolean }>))
    scalars[name] = (c[name] ?? spec.default) as number | boolean;
  return { dims, arrays, lists, scalars };
}

/** Arrays one behind the other. */
function joined<A extends { length: number; set(from: never, at: number): void }>(
  arrays: readonly A[],
  Kind: new (length: number) => A,
): A {
  const all = new Kind(arrays.reduce((n, { length }) => n + length, 0));
  let at = 0;
  for (const array of arrays) {
    all.set(array as never, at);
    at += array.length;
  }
  return all;
}

/** Runs the f64 reference on a case: outputs and updated tensors by name, tensors of a list one behind the other. */
export function runReference(kernel: AnyKernel, c: Case, kept?: Variant): Record<string, Float64Array | Int32Array> {
  const d = kernel.declaration;
  const { dims, arrays, lists, scalars } = prepare(kernel, c);
  const wide = (spec: TensorSpec, data: number[] | number) =>
    spec.dtypes.includes('i32') || spec.dtypes.includes('u8')
      ? Int32Array.from(typeof data === 'number' ? { length: data } : data)
      : Float64Array.from(typeof data === 'number' ? { length: data } : data);
  const args: Record<string, unknown> = { ...scalars, dims, kept };
  const out: Record<string, Float64Array | Int32Array> = {};
  for (const [name, spec] of Object.entries({ ...d.inputs, ...d.updates } as Record<string, TensorSpec>))
    if (lists[name]) args[name] = lists[name].map(({ data }) => wide(spec, data));
    else if (arrays[name]) args[name] = wide(spec, arrays[name].data);
  for (const [name, spec] of Object.entries(d.outputs as Record<string, TensorSpec>))
    out[name] = wide(
      spec,
      shapeOf(d.name, name, spec, dims).reduce((n, x) => n * x, 1),
    ).fill(0);
  d.reference(args as never, out as never);
  for (const name of Object.keys(d.updates ?? {}))
    if (lists[name])
      out[name] = joined(args[name] as Float64Array[], Float64Array as new (length: number) => Float64Array);
    else if (args[name]) out[name] = args[name] as Float64Array;
  return out;
}

/** Of bf16 reals are f32, and what may be kept in bf16 is. */
export type Variant = 'f32' | 'f64' | 'bf16';

const dtypeIn = (variant: Variant, spec: TensorSpec): DType =>
  spec.dtypes.length === 1 ? spec.dtypes[0]! : variant !== 'bf16' || isStored(spec) ? variant : 'f32';

const arrayOf = (dtype: DType, data: number[]): TypedArray =>
  dtype === 'bf16' ? toBf16(Float32Array.from(data)) : (ARRAYS[dtype].from(data as never) as TypedArray);

/** Runs the native kernel on a case, reals in `variant`: outputs and updated tensors as `runReference` has them, bf16 widened. */
export async function runKernel(kernel: AnyKernel, c: Case, variant: Variant): Promise<Record<string, TypedArray>> {
  using scope = new Scope();
  const d = kernel.declaration;
  const { arrays, lists, scalars } = prepare(kernel, c);
  const args: Record<string, unknown> = { ...scalars };
  for (const [name, spec] of Object.entries({ ...d.inputs, ...d.updates } as Record<string, TensorSpec>)) {
    const dtype = dtypeIn(variant, spec);
    const made = ({ data, shape }: { data: number[]; shape: number[] }) => tensor(arrayOf(dtype, data), shape, scope);
    if (lists[name]) args[name] = lists[name].map(made);
    else if (arrays[name]) args[name] = made(arrays[name]);
  }
  const outputs = kernel(args as never);
  const result: Record<string, TypedArray> = {};
  for (const [name, t] of Object.entries(outputs)) result[name] = await t.read();
  for (const name of Object.keys(d.updates ?? {})) {
    const changed = args[name] as ReturnType<typeof tensor> | ReturnType<typeof tensor>[] | undefined;
    if (Array.isArray(changed)) {
      const parts = await Promise.all(changed.map(readWide));
      const dtype = changed[0]?.dtype ?? 'f32';
      result[name] = joined(parts, ARRAYS[dtype === 'bf16' ? 'f32' : dtype] as new (length: number) => TypedArray);
    } else if (changed) result[name] = await readWide(changed);
  }
  return result;
}

async function readWide(t: Tensor): Promise<TypedArray> {
  const values = await t.read();
  return values instanceof Uint16Array ? fromBf16(values) : values;
}

export interface KernelTest {
  cases: Record<string, Case>;
  /** |kernel − reference| ≤ tolerance · max(1, |reference|); for each variant that the kernel has. State the reason beside it. */
  tolerance: number | { f32: number; f64: number; bf16?: number };
  /** of weights in bf16 where what they are multiplied by is rounded too; integers, which tell on which side of a bound a number is, are left out then */
  roundedTolerance?: number;
}

/** A kernel against its f64 reference, in every variant; inputs are rounded to what it gets first, so that only the arithmetic is judged. */
export function testKernel(kernel: AnyKernel, { cases, tolerance, roundedTolerance }: KernelTest): void {
  const d = kernel.declaration;
  const specs = Object.values({ ...d.inputs, ...d.updates, ...d.outputs } as Record<string, TensorSpec>);
  const variants: Variant[] = [
    ...(specs.some((s) => s.dtypes.length > 1) ? (['f32', 'f64'] as const) : (['f64'] as const)),
    ...(specs.some(isStored) ? (['bf16'] as const) : []),
  ];
  describe(`${d.name} on cpu`, () => {
    for (const variant of variants)
      for (const [name, given] of Object.entries(cases))
        it(`${name}${variants.length > 1 ? ` (${variant})` : ''}`, async () => {
          const rounded = roundCase(kernel, given, variant);
          const expected = runReference(kernel, rounded, variant);
          const actual = await runKernel(kernel, rounded, variant);
          const exact = typeof tolerance === 'number' ? tolerance : (tolerance[variant] ?? tolerance.f32);
          const whereRounded = variant === 'bf16' && productsRound() ? roundedTolerance : undefined;
          for (const [key, want] of Object.entries(expected))
            if (whereRounded === undefined || !(want instanceof Int32Array))
              expectClose(`${d.name}.${key}`, actual[key]!, want, whereRounded ?? exact);
        });
  });
}

/** A case as the kernel of a variant gets it. */
export function roundCase(kernel: AnyKernel, c: Case, variant: Variant): Case {
  if (variant === 'f64') return c;
  const specs = { ...kernel.declaration.inputs, ...kernel.declaration.updates } as Record<string, TensorSpec>;
  const rounding = (name: string) =>
    specs[name] && dtypeIn(variant, specs[name]) === 'bf16' ? roundedToBf16 : Math.fround;
  return Object.fromEntries(
    Object.entries(c).map(([k, v]) => [k, typeof v === 'object' ? roundNested(v, rounding(k)) : v]),
  );
}
const roundedToBf16 = (x: number): number => fromBf16(toBf16(Float32Array.of(x)))[0]!;
const roundArray = (v: TypedArray, round: (x: number) => number) =>
  Float64Array.from(round === roundedToBf16 ? fromBf16(toBf16(Float32Array.from(v))) : Float32Array.from(v));
const roundNested = (v: Nested, round: (x: number) => number): Nested =>
  typeof v === 'number'
    ? round(v)
    : ArrayBuffer.isView(v)
      ? shaped(roundArray(v as TypedArray, round), ...flatten(v).shape)
      : Array.isArray(v)
        ? v.map((x) => roundNested(x as Nested, round))
        : v;

/** Element by element, with the first bad one in the message; NaN and infinities must agree exactly. */
export function expectClose(
  what: string,
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  tolerance: number,
): void {
  expect(actual.length, `${what}: length`).toBe(expected.length);
  let worst = 0;
  let at = -1;
  for (let i = 0; i < expected.length; i++) {
    const [a, e] = [actual[i]!, expected[i]!];
    const error = Object.is(a, e) || a === e ? 0 : Math.abs(a - e) / Math.max(1, Math.abs(e));
    if (!(error <= worst)) [worst, at] = [error, i];
    if (Number.isNaN(error)) break;
  }
  if (!(worst <= tolerance))
    expect.fail(
      `${what}[${at}] is ${actual[at]}, expected ${expected[at]}: error ${worst.toExponential(2)} > ${tolerance}`,
    );
}

/**
 * Holds the reference of a backward kernel against central finite differences of the reference of its forward, in f64.
 *
 * @param upstream   forward output → backward input that holds its gradient
 * @param gradients  forward input → backward output (or update) that holds its gradient
 * @param extra      further backward inputs taken from forward inputs or outputs of the same name are passed by themselves
 */
export function testGradient(
  forward: AnyKernel,
  backward: AnyKernel,
  {
    cases,
    upstream,
    gradients,
    step = 1e-5,
    tolerance = 1e-7,
  }: {
    cases: Record<string, Case>;
    upstream: Record<string, string>;
    gradients: Record<string, string>;
    step?: number;
    tolerance?: number;
  },
): void {
  describe(`${backward.declaration.name} against finite differences`, () => {
    for (const [name, c] of Object.entries(cases))
      it(name, () => {
        const out = runReference(forward, c);
        const weights: Record<string, Float64Array<ArrayBuffer>> = {};
        const args: Case = {};
        const wanted = {
          ...backward.declaration.inputs,
          ...backward.declaration.updates,
          ...backward.declaration.scalars,
        };
        const { dims } = prepare(forward, c);
        Object.entries(upstream).forEach(([output, gradient], k) => {
          weights[output] = randoms(91 + k, out[output]!.length);
          args[gradient] = shaped(weights[output], ...shapeOf('', output, forward.declaration.outputs[output], dims));
        });
        for (const key of Object.keys(wanted)) {
          if (args[key] !== undefined) continue;
          if (c[key] !== undefined) args[key] = c[key];
          else if (out[key]) {
            const spec = forward.declaration.outputs[key] as TensorSpec;
            args[key] = shaped(out[key] as Float64Array<ArrayBuffer>, ...shapeOf('', key, spec, dims));
          }
        }
        for (const [input, gradient] of Object.entries(gradients))
          if (backward.declaration.updates && gradient in backward.declaration.updates) {
            const { data, shape } = flatten(c[input]!);
            args[gradient] = shaped(new Float64Array(data.length), ...shape);
          }
        const objective = (changed: Case) => {
          const y = runReference(forward, changed);
          let sum = 0;
          for (const [output, w] of Object.entries(weights)) w.forEach((wi, i) => (sum += wi * y[output]![i]!));
          return sum;
        };
        const analytic = runReference(backward, args);
        for (const [input, gradient] of Object.entries(gradients)) {
          const { data, shape } = flatten(c[input]!);
          const numeric = data.map((x, i) => {
            const h = step * Math.max(1, Math.abs(x));
            const at = (v: number) =>
              objective({
                ...c,
                [input]: shaped(
                  Float64Array.from(data, (d, j) => (j === i ? v : d)),
                  ...shape,
                ),
              });
            return (at(x + h) - at(x - h)) / (2 * h);
          });
          expectClose(gradient, analytic[gradient]!, numeric, tolerance);
        }
      });
  });
}
