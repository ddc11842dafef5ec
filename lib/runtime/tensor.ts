/// <reference lib="esnext.disposable" preserve="true" />
import { G2rpoError, wantList } from './errors.ts';
import { callNative, fromNative, type NativeTensor } from './native.ts';

/** Element types of tensors. Those of bf16 are upper halves of f32 numbers; in JavaScript they are their bits. */
export type DType = 'f32' | 'f64' | 'i32' | 'u8' | 'bf16';
export type TypedArray =
  | Float32Array<ArrayBuffer>
  | Float64Array<ArrayBuffer>
  | Int32Array<ArrayBuffer>
  | Uint8Array<ArrayBuffer>
  | Uint16Array<ArrayBuffer>;
export type ArrayOf<D extends DType> = D extends 'f32'
  ? Float32Array<ArrayBuffer>
  : D extends 'f64'
    ? Float64Array<ArrayBuffer>
    : D extends 'i32'
      ? Int32Array<ArrayBuffer>
      : D extends 'u8'
        ? Uint8Array<ArrayBuffer>
        : Uint16Array<ArrayBuffer>;

/** @internal */
export const ARRAYS = {
  f32: Float32Array,
  f64: Float64Array,
  i32: Int32Array,
  u8: Uint8Array,
  bf16: Uint16Array,
} as const;

/** The element type of a typed array. @throws DTYPE_MISMATCH  not one of the five */
export function dtypeOf(array: ArrayBufferView): DType {
  for (const [name, type] of Object.entries(ARRAYS)) if (array instanceof type) return name as DType;
  throw new G2rpoError(
    'DTYPE_MISMATCH',
    `a Float32Array, Float64Array, Int32Array, Uint8Array or Uint16Array (bf16) was wanted; got ${array?.constructor?.name ?? typeof array}`,
  );
}

/** @internal how many elements a shape holds */
export function sizeOf(shape: readonly number[]): number {
  let size = 1;
  for (const d of shape) size *= d;
  return size;
}

/** @internal the addon reads no memory that another thread may be changing: a SharedArrayBuffer's is copied first. */
export const ownMemory = (array: TypedArray): TypedArray =>
  (array.buffer as ArrayBufferLike) instanceof ArrayBuffer ? array : copyOf(array);
/** By the slice that all typed arrays have; that of a Buffer shares its memory. */
const copyOf = (array: TypedArray): TypedArray => Uint8Array.prototype.slice.call(array as Uint8Array) as TypedArray;

const released = new FinalizationRegistry<NativeTensor>((handle) => callNative((n) => n.release(handle)));

/**
 * A dense, row-major array that lives on the device. It is made by `tensor` or by a kernel, read by `await t.read()`, and freed by
 * `dispose`, by the scope that owns it, or at last by the garbage collector.
 */
export class Tensor<D extends DType = DType> {
  readonly dtype: D;
  /** dimensions, outermost first */
  readonly shape: readonly number[];
  #handle: NativeTensor | Tensor<D> | undefined;
  #scope: Scope | undefined;

  /** @internal use `tensor`, `zeros` or `reshape` */
  constructor(dtype: D, shape: readonly number[], handle: NativeTensor | Tensor<D>, scope?: Scope) {
    this.dtype = dtype;
    this.shape = shape;
    this.#handle = handle;
    if (!(handle instanceof Tensor)) released.register(this, handle, this);
    if (scope) this.moveTo(scope);
  }

  get size(): number {
    return sizeOf(this.shape);
  }

  /** @internal @throws DISPOSED */
  get handle(): NativeTensor {
    if (!this.#handle) throw new G2rpoError('DISPOSED', `the tensor ${this} has been disposed`);
    return this.#handle instanceof Tensor ? this.#handle.handle : this.#handle;
  }

  /**
   * The same memory under another shape. It stays this tensor's: disposing the view frees nothing.
   *
   * @throws SHAPE_MISMATCH  the shape does not hold as many elements
   */
  reshape(shape: readonly number[]): Tensor<D> {
    wantList('reshape', 'shape', shape);
    if (sizeOf(shape) !== this.size)
      throw new G2rpoError(
        'SHAPE_MISMATCH',
        `reshape: [${shape.join(', ')}] must hold the ${this.size} elements of ${this}`,
      );
    return new Tensor(this.dtype, [...shape], this);
  }

  /** @internal the scope that frees it */
  get scope(): Scope | undefined {
    return this.#scope;
  }

  /** @internal */
  moveTo(scope: Scope | undefined): void {
    this.#scope?.owned.delete(this);
    this.#scope = scope;
    scope?.owned.add(this);
  }

  /**
   * The values, when everything enqueued before has run.
   *
   * @throws NON_FINITE and others, if a kernel that wrote it, or one before it, failed
   */
  async read(): Promise<ArrayOf<D>> {
    const handle = this.handle;
    try {
      const buffer = await callNative((n) => n.read(handle));
      return new ARRAYS[this.dtype](buffer) as ArrayOf<D>;
    } catch (error) {
      throw fromNative(error);
    }
  }

  /**
   * Replaces the values, after everything enqueued before.
   *
   * @throws DTYPE_MISMATCH, SHAPE_MISMATCH  another element type or number of elements
   * @throws INVALID_ARGUMENT  the array's memory was given to another thread
   */
  write(array: TypedArray): void {
    if (dtypeOf(array) !== this.dtype)
      throw new G2rpoError('DTYPE_MISMATCH', `write: ${this} was wanted; got ${dtypeOf(array)}`);
    wantList('write', 'array', array);
    if (array.length !== this.size)
      throw new G2rpoError('SHAPE_MISMATCH', `write: ${this} holds ${this.size} elements; got ${array.length}`);
    callNative((n) => n.write(this.handle, ownMemory(array)));
  }

  dispose(): void {
    if (!this.#handle) return;
    const handle = this.#handle;
    this.#handle = undefined;
    this.moveTo(undefined);
    if (handle instanceof Tensor) return;
    released.unregister(this);
    callNative((n) => n.release(handle));
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  toString(): string {
    return `${this.dtype}[${this.shape.join(', ')}]`;
  }
}

/** Owns tensors and frees them together: `using scope = new Scope()`. */
export class Scope {
  /** @internal */
  readonly owned = new Set<Tensor>();

  /** Takes a tensor out of the scope: it lives on until disposed. */
  keep<T extends Tensor>(tensor: T): T {
    tensor.moveTo(undefined);
    return tensor;
  }

  dispose(): void {
    for (const t of this.owned) t.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

type DTypeOf<A extends TypedArray> = { [D in DType]: A extends ArrayOf<D> ? D : never }[DType];

/**
 * Copies an array to the device.
 *
 * @param shape  defaults to one dimension
 * @throws SHAPE_MISMATCH  the shape does not hold as many elements
 * @throws INVALID_ARGUMENT  the array's memory was given to another thread
 */
export function tensor<A extends TypedArray>(
  array: A,
  shape: readonly number[] = [array?.length],
  scope?: Scope,
): Tensor<DTypeOf<A>> {
  const dtype = dtypeOf(array);
  wantList('tensor', 'array', array);
  wantList('tensor', 'shape', shape);
  const size = sizeOf(shape);
  if (size !== array.length || shape.some((d) => !Number.isInteger(d) || d < 0))
    throw new G2rpoError('SHAPE_MISMATCH', `[${shape.join(', ')}] holds ${size} elements; got ${array.length}`);
  return new Tensor(
    dtype,
    [...shape],
    callNative((n) => n.upload(dtype, ownMemory(array))),
    scope,
  ) as never;
}

/** A tensor of zeros. */
export const zeros = <D extends DType>(dtype: D, shape: readonly number[], scope?: Scope): Tensor<D> =>
  allocate(dtype, shape, true, scope);

/** @internal a tensor of whatever was in memory, for a kernel to fill */
export const empty = <D extends DType>(dtype: D, shape: readonly number[], scope?: Scope): Tensor<D> =>
  allocate(dtype, shape, false, scope);

/**
 * A tensor of zeros in the host's memory, where an update finds moments that are not to take the device's. It is read and written as any other; no
 * kernel takes it. On the CPU it is like any other.
 */
export const zerosOnHost = <D extends DType>(dtype: D, shape: readonly number[]): Tensor<D> =>
  allocate(dtype, shape, true, undefined, true);

/** Values of a tensor of the device become those of one of `zerosOnHost`, after everything enqueued before. */
export const keepOnHost = <D extends DType>(to: Tensor<D>, from: Tensor<D>): void =>
  callNative((n) => n.toHost(to.handle, from.handle));

function allocate<D extends DType>(
  dtype: D,
  shape: readonly number[],
  zero: boolean,
  scope?: Scope,
  onHost = false,
): Tensor<D> {
  wantList('tensor', 'shape', shape);
  const size = sizeOf(shape);
  if (shape.some((d) => !Number.isInteger(d) || d < 0))
    throw new G2rpoError('SHAPE_MISMATCH', `dimensions must be whole numbers from 0; got [${shape.join(', ')}]`);
  return new Tensor(
    dtype,
    [...shape],
    callNative((n) => n.allocate(dtype, size, zero, onHost)),
    scope,
  );
}
