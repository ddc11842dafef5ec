import { describe, G2rpoError, nearestName, wantList } from '../runtime/errors.ts';
import { callNative, fromNative, native } from '../runtime/native.ts';
import {
  ARRAYS,
  dtypeOf,
  empty,
  ownMemory,
  sizeOf,
  Tensor,
  tensor,
  type ArrayOf,
  type DType,
  type Scope,
  type TypedArray,
} from '../runtime/tensor.ts';
import { bindDims, isStored, shapeOf, specText, type Dims, type ScalarSpec, type TensorSpec } from './signature.ts';

export * from './signature.ts';

type Tensors = Record<string, TensorSpec>;
type Scalars = Record<string, ScalarSpec>;

type OptionalKeys<S> = {
  [K in keyof S]: S[K] extends { optional: true } | { default: number | boolean } ? K : never;
}[keyof S];
/** Values of every float tensor as f64, of every integer tensor as i32: what references compute with. */
export type ReferenceArrays<S extends Tensors> = {
  [K in keyof S]: S[K] extends { list: true } ? ReferenceArray<S[K]>[] : ReferenceArray<S[K]>;
};
type ReferenceArray<S> = S extends { dtypes: readonly ('i32' | 'u8')[] } ? Int32Array : Float64Array;
type ScalarValues<S extends Scalars> = { [K in keyof S]: S[K]['type'] extends 'bool' ? boolean : number };

export interface KernelDeclaration<I extends Tensors, U extends Tensors, S extends Scalars, O extends Tensors> {
  /** the C++ op's kName */
  name: string;
  inputs: I;
  /** tensors changed in place */
  updates?: U;
  scalars?: S;
  outputs: O;
  /** f64, slow and obvious: fills the outputs (zeros before) and changes the updates */
  reference(
    args: ReferenceArrays<I> &
      ReferenceArrays<U> &
      ScalarValues<S> & {
        dims: Dims;
        /** what arguments that are `stored` are kept in, where that changes more than their values */
        kept?: DType;
      },
    outputs: ReferenceArrays<O>,
  ): void;
  /** bytes that must move and floating-point operations that must happen; dimensions of lists are sums over their tensors */
  work(dims: Dims): { bytes: number; flops: number };
}

/** What may be given: a list of tensors where the declaration says `many`. */
type Given<S, One> = S extends { list: true } ? readonly Tensor[] : One;
type Arguments<I extends Tensors, U extends Tensors, S extends Scalars> = {
  [K in Exclude<keyof I, OptionalKeys<I>>]: Given<I[K], Tensor | TypedArray>;
} & { [K in OptionalKeys<I>]?: Given<I[K], Tensor | TypedArray> | undefined } & {
  [K in Exclude<keyof U, OptionalKeys<U>>]: Given<U[K], Tensor>;
} & {
  [K in OptionalKeys<U>]?: Given<U[K], Tensor> | undefined;
} & {
  [K in Exclude<keyof S, OptionalKeys<S>>]: ScalarValues<S>[K];
} & { [K in OptionalKeys<S>]?: ScalarValues<S>[K] };

/** A kernel: call it to enqueue it; its outputs are tensors, to be read when needed. */
export interface Kernel<
  I extends Tensors = Tensors,
  U extends Tensors = Tensors,
  S extends Scalars = Scalars,
  O extends Tensors = Tensors,
> {
  (args: Arguments<I, U, S>): { [K in keyof O]: Tensor<O[K] extends TensorSpec<infer D> ? D : DType> };
  readonly declaration: KernelDeclaration<I, U, S, O>;
  /** as C++ must say it */
  readonly signature: string;
  /** The outputs as arrays: launched, read and freed. What is small and of arrays alone is computed on them as they are. */
  compute(args: Arguments<I, U, S>): Promise<{ [K in keyof O]: ArrayOf<O[K] extends TensorSpec<infer D> ? D : DType> }>;
  /** CPU seconds of one run on the stream's thread, the mean of `count` runs behind one that is not timed; without the way there and back */
  time(args: Arguments<I, U, S>, count: number): Promise<number>;
}

const kernels = new Map<string, Kernel>();
let contract: Map<string, Set<string>> | undefined;

/** Every kernel declared so far, by name. */
export const declaredKernels = (): ReadonlyMap<string, Kernel> => kernels;

/**
 * Declares a kernel once: from here come its types, its checks, its messages, its tests and its benches.
 *
 * @throws CONTRACT_MISMATCH  at the first call, if the C++ signature differs
 */
export function defineKernel<
  I extends Tensors,
  O extends Tensors,
  U extends Tensors = Record<never, never>,
  S extends Scalars = Record<never, never>,
>(declaration: KernelDeclaration<I, U, S, O>): Kernel<I, U, S, O> {
  const { name } = declaration;
  const plan = makePlan(declaration as never);
  const kernel = Object.assign((args: Record<string, unknown>) => launch(plan, bind(plan, args)), {
    declaration,
    signature: plan.signature,
    compute: (args: Record<string, unknown>) => compute(plan, args),
    time: (args: Record<string, unknown>, count: number) => time(plan, args, count),
  });
  kernels.set(name, kernel as unknown as Kernel);
  return kernel as unknown as Kernel<I, U, S, O>;
}

function signatureOf(d: KernelDeclaration<Tensors, Tensors, Scalars, Tensors>): string {
  const texts = (specs: Record<string, TensorSpec | ScalarSpec> | undefined, mark = '') =>
    Object.entries(specs ?? {}).map(([k, s]) => mark + specText(k, s));
  return `${[...texts(d.inputs), ...texts(d.updates, '&'), ...texts(d.scalars)].join(', ')} -> ${texts(d.outputs).join(', ')}`.trim();
}

interface Slot {
  name: string;
  spec: TensorSpec | ScalarSpec;
  role: 'input' | 'update' | 'scalar' | 'output';
}

/** What the addon is told of a kernel's arguments. */
interface Plan {
  name: string;
  signature: string;
  slots: Slot[];
  /** names that may be given */
  names: ReadonlySet<string>;
  /** [slots] 1 where memory is written */
  written: Uint8Array;
  /** [slots, MOST_DIMS] those of the call that is being made; −1 where there is none */
  sizes: Float64Array;
}

/** kMaxRank of csrc/core/kernel.h */
const MOST_DIMS = 4;

function makePlan(d: KernelDeclaration<Tensors, Tensors, Scalars, Tensors>): Plan {
  const of = (specs: Record<string, TensorSpec | ScalarSpec> | undefined, role: Slot['role']) =>
    Object.entries(specs ?? {}).map(([name, spec]): Slot => ({ name, spec, role }));
  const given = [...of(d.inputs, 'input'), ...of(d.updates, 'update'), ...of(d.scalars, 'scalar')];
  const slots = [...given, ...of(d.outputs, 'output')];
  return {
    name: d.name,
    signature: signatureOf(d),
    slots,
    names: new Set(given.map(({ name }) => name)),
    written: Uint8Array.from(slots, ({ role }) => Number(role === 'update' || role === 'output')),
    sizes: new Float64Array(slots.length * MOST_DIMS),
  };
}

/** Should the declaration and the C++ signature ever differ, both are printed and nothing runs. */
function checkContract(name: string, signature: string): void {
  if (!contract) {
    contract = new Map();
    for (const k of native().kernels()) contract.set(k.name, (contract.get(k.name) ?? new Set()).add(k.signature));
  }
  const found = contract.get(name);
  if (!found)
    throw new G2rpoError('KERNEL_UNAVAILABLE', `${name}: the native addon has no kernel of this name; rebuild it`);
  for (const other of found)
    if (other !== signature)
      throw new G2rpoError(
        'CONTRACT_MISMATCH',
        `${name}: the declaration and the C++ signature differ\n  TypeScript  ${signature}\n  C++         ${other}`,
        { kernel: name, declared: signature, native: other },
      );
}

/** @internal checks every declared kernel against the addon */
export function checkAllContracts(): void {
  for (const [name, kernel] of kernels) checkContract(name, kernel.signature);
}

const checked = new Set<string>();

/** Arguments, checked and in the order of the signature; an output is what it will be. */
interface Bound {
  variant: DType;
  values: (Tensor | TypedArray | readonly Tensor[] | number | null | Output)[];
  /** of the first tensor: outputs live and die with it */
  scope: Scope | undefined;
}

class Output {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  constructor(name: string, dtype: DType, shape: readonly number[]) {
    this.name = name;
    this.dtype = dtype;
    this.shape = shape;
  }
  get byteLength(): number {
    return sizeOf(this.shape) * ARRAYS[this.dtype].BYTES_PER_ELEMENT;
  }
  array(): TypedArray {
    return new ARRAYS[this.dtype](sizeOf(this.shape));
  }
}

/** What the addon takes, with the outputs that it will fill. */
function placed({ values, scope }: Bound) {
  const outputs: Record<string, Tensor> = {};
  const temporary: Tensor[] = []; // made of typed arrays, for this call only
  const handles = values.map((value) => {
    if (value === null || typeof value === 'number') return value;
    if (value instanceof Tensor) return value.handle;
    if (value instanceof Output) return (outputs[value.name] = empty(value.dtype, value.shape, scope)).handle;
    if (!ArrayBuffer.isView(value)) return value.map((t) => t.handle);
    const uploaded = tensor(value);
    temporary.push(uploaded);
    return uploaded.handle;
  });
  return { handles, outputs, temporary };
}

function launch(plan: Plan, bound: Bound): Record<string, Tensor> {
  const { handles, outputs, temporary } = placed(bound);
  callNative((n) => n.launch(plan.name, bound.variant, handles, plan.sizes, plan.written));
  for (const t of temporary) t.dispose();
  return outputs;
}

async function compute(plan: Plan, args: Record<string, unknown>): Promise<Record<string, TypedArray>> {
  const bound = bind(plan, args);
  const here = computeHere(plan, bound);
  if (here) return here;
  const tensors = launch(plan, bound);
  try {
    const read = Object.entries(tensors).map(async ([name, t]) => [name, await t.read()] as const);
    return Object.fromEntries(await Promise.all(read));
  } finally {
    for (const t of Object.values(tensors)) t.dispose();
  }
}

/** The outputs, if the addon computes them at once, on the memory of the arrays that were given. */
function computeHere(plan: Plan, { variant, values }: Bound): Record<string, TypedArray> | undefined {
  let bytes = 0;
  for (const value of values) {
    if (value instanceof Tensor || Array.isArray(value)) return undefined;
    if (ArrayBuffer.isView(value) || value instanceof Output) bytes += value.byteLength;
  }
  if (bytes > MOST_BYTES_HERE) return undefined;
  const outputs: Record<string, TypedArray> = {};
  const memory = values.map((value) => {
    if (value instanceof Output) return (outputs[value.name] = value.array());
    return ArrayBuffer.isView(value) ? ownMemory(value) : (value as number | null);
  });
  return callNative((n) => n.runHere(plan.name, variant, memory, plan.sizes, plan.written)) ? outputs : undefined;
}

/** kShortJob of csrc/binding/binding.h */
const MOST_BYTES_HERE = 128 * 1024;

async function time(plan: Plan, args: Record<string, unknown>, count: number): Promise<number> {
  const bound = bind(plan, args);
  const { handles, outputs, temporary } = placed(bound);
  try {
    return await callNative((n) => n.time(plan.name, bound.variant, handles, plan.sizes, plan.written, count));
  } catch (error) {
    throw fromNative(error);
  } finally {
    for (const t of [...temporary, ...Object.values(outputs)]) t.dispose();
  }
}

function bind(plan: Plan, args: Record<string, unknown>): Bound {
  const { name, signature, slots, sizes } = plan;
  if (!checked.has(signature)) {
    checkContract(name, signature);
    checked.add(signature);
  }
  if (typeof (args as unknown) !== 'object' || (args as unknown) === null)
    throw new G2rpoError('INVALID_ARGUMENT', `${name}: wants its arguments by name; got ${describe(args)}`);
  for (const key of Object.keys(args))
    if (args[key] !== undefined && !plan.names.has(key)) {
      const nearest = nearestName(key, [...plan.names]);
      throw new G2rpoError(
        'INVALID_ARGUMENT',
        `${name}: no argument ${key}${nearest ? `; did you mean ${nearest}?` : ''}`,
      );
    }

  const dims: Dims = {};
  const placeDims: Dims[] = [];
  let first: Tensor | undefined;
  const chosen: Chosen = {};
  sizes.fill(-1);
  const values = slots.map(({ name: key, spec, role }, i): Bound['values'][number] => {
    if (spec.kind === 'scalar') return scalar(name, key, spec, args[key]);
    if (role === 'output') {
      const dtype = spec.dtypes.length > 1 ? (chosen.real ?? 'f32') : spec.dtypes[0]!;
      const shape = shapeOf(name, key, spec, dims);
      sizes.set(shape, i * MOST_DIMS);
      return new Output(key, dtype, shape);
    }
    const given = args[key];
    if (given === undefined || given === null) {
      if (!spec.optional) throw new G2rpoError('INVALID_ARGUMENT', `${name}: ${specText(key, spec)} is missing`);
      return null;
    }
    if (spec.list) {
      const tensors = listOf(name, key, spec, given, chosen, placeDims);
      if (tensors[0]) choose(chosen, spec, tensors[0].dtype);
      first ??= tensors[0];
      return tensors;
    }
    const isTensor = given instanceof Tensor;
    if (!isTensor && role === 'update')
      throw new G2rpoError('INVALID_ARGUMENT', `${name}: ${key} is changed in place and must be a Tensor`);
    if (!isTensor && !ArrayBuffer.isView(given))
      throw new G2rpoError(
        'INVALID_ARGUMENT',
        `${name}: ${specText(key, spec)} must be a Tensor or a typed array; got ${describe(given)}`,
      );
    const dtype = isTensor ? given.dtype : dtypeOf(given);
    if (!isTensor) wantList(name, key, given);
    const shape = isTensor ? given.shape : [(given as TypedArray).length];
    checkDtype(name, key, spec, dtype, shape, chosen);
    choose(chosen, spec, dtype);
    bindDims(name, key, spec, shape, dims);
    sizes.set(shape, i * MOST_DIMS);
    if (isTensor) first ??= given;
    return given as Tensor | TypedArray;
  });
  const variant = chosen.stored === 'bf16' ? 'bf16' : (chosen.real ?? 'f32');
  return { variant, values, scope: first?.scope };
}

/** What the arguments so far have decided among alternatives. */
interface Chosen {
  real?: DType;
  stored?: DType;
}

function choose(chosen: Chosen, spec: TensorSpec, dtype: DType): void {
  if (spec.dtypes.length === 1) return;
  if (isStored(spec)) chosen.stored = dtype;
  chosen.real = dtype === 'bf16' ? 'f32' : dtype;
}

/** The element types that an argument may have. */
function allowed(spec: TensorSpec, { real, stored }: Chosen): readonly DType[] {
  if (spec.dtypes.length === 1) return spec.dtypes;
  if (isStored(spec) && stored) return [stored];
  return spec.dtypes.filter((dtype) => !real || dtype === real || (dtype === 'bf16' && real === 'f32'));
}

function checkDtype(
  kernel: string,
  key: string,
  spec: TensorSpec,
  got: DType,
  shape: readonly number[],
  chosen: Chosen,
): void {
  const wanted = allowed(spec, chosen);
  if (!wanted.includes(got))
    throw new G2rpoError(
      'DTYPE_MISMATCH',
      `${kernel}: ${key} must be ${wanted.join(' or ')}[${spec.dims.join(',')}]; got ${got}[${shape.join(', ')}]`,
      { kernel, argument: key, wanted, got },
    );
}

/** Tensors of a list, checked against those at the same places of the lists before. */
function listOf(
  kernel: string,
  key: string,
  spec: TensorSpec,
  given: unknown,
  before: Chosen,
  placeDims: Dims[],
): readonly Tensor[] {
  if (!Array.isArray(given) || !given.every((t) => t instanceof Tensor))
    throw new G2rpoError('INVALID_ARGUMENT', `${kernel}: ${specText(key, spec)} must be a list of Tensors`);
  const tensors = given as readonly Tensor[];
  const chosen = { ...before };
  tensors.forEach(({ dtype, shape }, i) => {
    checkDtype(kernel, `${key}[${i}]`, spec, dtype, shape, chosen);
    choose(chosen, spec, dtype);
    bindDims(kernel, `${key}[${i}]`, spec, shape, (placeDims[i] ??= {}));
  });
  return tensors;
}

function scalar(kernel: string, key: string, spec: ScalarSpec, given: unknown): number {
  const value = given ?? spec.default;
  if (value === undefined) throw new G2rpoError('INVALID_ARGUMENT', `${kernel}: ${specText(key, spec)} is missing`);
  const ok =
    spec.type === 'bool'
      ? typeof value === 'boolean'
      : typeof value === 'number' && (spec.type === 'f64' ? !Number.isNaN(value) : Number.isInteger(value));
  if (!ok)
    throw new G2rpoError(
      'INVALID_ARGUMENT',
      `${kernel}: ${key} must be ${spec.type === 'i32' ? 'a whole number' : spec.type === 'bool' ? 'true or false' : 'a number'}; got ${String(value)}`,
    );
  return Number(value);
}
