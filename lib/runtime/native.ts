import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { environment } from './env.ts';
import { describe, ERROR_CODES, G2rpoError, type ErrorCode } from './errors.ts';

/** A tensor's memory on the native side. */
export type NativeTensor = { readonly __native: 'tensor' };

export interface NativeKernel {
  name: string;
  signature: string;
  backend: string;
  isa: string;
  variant: string;
}

/** The addon, as the files of csrc/binding export it. */
export interface Native {
  cores(): number;
  hostIsa(): string;
  limitIsa(name: string): string;
  threads(): number;
  setThreads(n: number): void;
  /** the device of a library, in words, for all that is enqueued from now on */
  useDevice(library: string): string;
  /** the device of a library, and what multiplies matrices for it or why not, in words */
  describeDevice(library: string): { device: string; products: string };
  memoryUse(): { bytes: number; peak: number; limit: number };
  limitMemory(bytes: number): void;
  kernels(): NativeKernel[];
  /** starts or stops timing the kernels that the model runs, from zero */
  profile(on: boolean): void;
  kernelTimes(): { name: string; variant: string; launches: number; milliseconds: number }[];
  /** `onHost`: beside an accelerator, in memory of the host */
  allocate(dtype: string, count: number, zero: boolean, onHost: boolean): NativeTensor;
  upload(dtype: string, array: ArrayBufferView): NativeTensor;
  write(tensor: NativeTensor, array: ArrayBufferView): void;
  read(tensor: NativeTensor): Promise<ArrayBuffer>;
  /** values of a tensor of the device, to one of the host */
  toHost(to: NativeTensor, from: NativeTensor): void;
  release(tensor: NativeTensor): void;
  Policy: new (
    config: object,
    variant: string,
    names: string[],
    weights: NativeTensor[],
    /** true: it is trained, and its gradient is not kept */
    gradients: (NativeTensor | true | null)[],
    adapters: (
      | (Record<'a' | 'b', NativeTensor> & Record<'dA' | 'dB', NativeTensor | null> & { rank: number; scale: number })
      | null
    )[],
    /** `cacheBytes` 0 is no limit */
    engine: { pageTokens: number; cacheBytes: number; rollouts: number; promptRows: number },
    /** what every id adds to a text, one after the other, and where each begins */
    vocabulary: { bytes: Uint8Array; starts: Int32Array },
  ) => NativePolicy;
  launch(
    name: string,
    variant: string,
    args: (NativeTensor | NativeTensor[] | number | null)[],
    dims: Float64Array,
    written: Uint8Array,
  ): void;
  /**
   * Runs a kernel on the arrays themselves, now, and returns true; false where it touches too much for that, something that was
   * enqueued before has not run, or the device is not the CPU
   */
  runHere(
    name: string,
    variant: string,
    args: (ArrayBufferView | number | null)[],
    dims: Float64Array,
    written: Uint8Array,
  ): boolean;
  /** CPU seconds of one run on the stream's own thread, the mean of `count` */
  time(
    name: string,
    variant: string,
    args: (NativeTensor | NativeTensor[] | number | null)[],
    dims: Float64Array,
    written: Uint8Array,
    count: number,
  ): Promise<number>;
  /** per second of one core: operations in f32 and on bf16 numbers, bytes copied */
  measurePeaks(): { flops: number; bf16Flops: number; bytes: number };
  /** u8[height, width, 3] to u8[newHeight, newWidth, 3] */
  resizeBicubic(
    pixels: Uint8Array,
    height: number,
    width: number,
    newHeight: number,
    newWidth: number,
  ): Promise<ArrayBuffer>;
}

/** A picture or video: frames u8[frames, height, width, 3] and what their bytes become, f32[3, 256]; or rows of patches. */
export type NativeShown = { pixels: Uint8Array; values: Float32Array } | { rows: Float32Array };

/** A packed batch as csrc/binding/arguments.h reads it. All of it is copied at the call. */
export interface NativeBatch {
  inputIds: Int32Array;
  positionIds: Int32Array;
  segmentStarts: Int32Array;
  segmentPrefix: Int32Array;
  visualRows: Int32Array;
  visualSource: Int32Array;
  targetRows: Int32Array;
  targetIds: Int32Array;
  shown: NativeShown[];
  /** [shown, 3] */
  grids: Int32Array;
}

export interface NativeScores<A> {
  logProbs: A;
  entropy: A;
  loss: A;
  clipped: Int32Array;
  /** of all gradients, where the pass has made an update */
  squaredNorm?: number;
}

/** An update that the engine is to make: of each tensor that is trained what the optimizer keeps. */
export interface NativeUpdate {
  learningRate: number;
  beta1: number;
  beta2: number;
  epsilon: number;
  weightDecay: number;
  /** this update's number, from 1 */
  step: number;
  /** what clipping multiplies gradients with; 1 in a backward pass */
  gradientScale: number;
  pieceElements: number;
  tensors: { place: number; master: NativeTensor | null; moments: NativeTensor[] }[];
}

export interface NativeResponse<A = Float32Array | Float64Array> {
  tokens: Int32Array;
  logProbs: A;
  entropy: A;
  /** what ended it, and which of the request's: its place among them */
  stop: 'length' | 'id' | 'sequence' | 'string';
  stopIndex: number;
}

/** The policy's ops in order, on the device's stream. */
export interface NativePolicy<A = Float32Array | Float64Array> {
  forward(batch: NativeBatch, temperature: number): Promise<NativeScores<A>>;
  forwardBackward(
    batch: NativeBatch,
    loss: object,
    temperature: number,
    recompute: 'none' | 'selective' | 'full',
    update: NativeUpdate | null,
    accumulate: boolean,
  ): Promise<NativeScores<A>>;
  /** from the gradients as they are */
  update(update: NativeUpdate): Promise<void>;
  logits(batch: NativeBatch & { rows: Int32Array }): Promise<A>;
  features(batch: NativeBatch): Promise<A[]>;
  /** n promises for every prompt, and the number by which it can be aborted */
  submit(
    prompts: NativeBatch & { ropeDelta: Int32Array },
    options: object[],
  ): { id: number; responses: Promise<NativeResponse<A>>[] }[];
  /** What has not been sampled of a request is rejected; nothing happens if it has come to its end. */
  abort(id: number): void;
  zeroGradients(): void;
  release(): void;
}

export const packageRoot = resolve(dirname(fileURLToPath(import.meta.url)), '../..');

let ready: Native | undefined;

/**
 * The native addon as it is loaded, before it is told what the environment asks for: to look at, not to compute with.
 *
 * @throws NATIVE_UNAVAILABLE  there is none, or it does not load here
 */
export function loadAddon(): Native {
  try {
    return (createRequire(import.meta.url)('node-gyp-build') as (dir: string) => Native)(packageRoot);
  } catch (cause) {
    throw new G2rpoError(
      'NATIVE_UNAVAILABLE',
      `no native addon for ${process.platform}-${process.arch} loads from ${packageRoot}: ` +
        `${(cause as Error).message.split('\n')[0]}. \`npm run build:native\` in that folder builds one (needs g++ and cmake)`,
      { root: packageRoot },
      { cause },
    );
  }
}

/**
 * The native addon: a build of this checkout, else the package's prebuild for this platform. Loaded once, and told which device, threads and
 * instruction set the environment asks for.
 *
 * @throws NATIVE_UNAVAILABLE  there is none, or it does not load here
 * @throws BACKEND_UNAVAILABLE  the device that was asked for is not there
 */
export function native(): Native {
  if (ready) return ready;
  const addon = loadAddon();
  const { isa, threads } = environment();
  useDevice(addon);
  if (isa !== undefined) {
    const best = addon.limitIsa(isa);
    if (best !== isa && best !== `${isa}_emulated`)
      throw new G2rpoError(
        'BACKEND_UNAVAILABLE',
        `G2RPO_ISA must be an instruction set of this machine: generic or up to ${best}; got ${describe(isa)}`,
        { wanted: best },
      );
  }
  if (threads !== undefined) {
    if (!Number.isInteger(threads) || threads < 1 || threads > 1024)
      throw new G2rpoError(
        'INVALID_ARGUMENT',
        `G2RPO_THREADS must be a whole number from 1 to 1024; got ${String(threads)}`,
      );
    addon.setThreads(threads);
  }
  return (ready = addon);
}

/** Where the library of a device is looked for: where `G2RPO_CUDA_LIBRARY` says, else beside the addon. */
export function deviceLibrary(): string {
  const { path } = createRequire(import.meta.url)('node-gyp-build') as { path(dir: string): string };
  return environment().cudaLibrary ?? resolve(dirname(path(packageRoot)), 'g2rpo-cuda.so');
}

/** What builds the library: a script of a checkout, or in an installed package the file itself. */
export const libraryBuilder = (): string =>
  existsSync(resolve(packageRoot, 'scripts', 'setup.mjs'))
    ? '`npm run build:cuda`'
    : `\`node ${resolve(packageRoot, 'scripts', 'cuda-build.mjs')}\``;

function useDevice(addon: Native): void {
  const { device } = environment();
  if (device === undefined || device === 'cpu') return;
  if (device !== 'cuda') throw new G2rpoError('BACKEND_UNAVAILABLE', `G2RPO_DEVICE must be cpu or cuda; got ${device}`);
  const library = deviceLibrary();
  if (!existsSync(library))
    throw new G2rpoError(
      'BACKEND_UNAVAILABLE',
      `G2RPO_DEVICE is cuda, and ${library} is not there; ${libraryBuilder()} builds it (needs the CUDA toolkit and cmake)`,
      { library },
    );
  try {
    addon.useDevice(library);
  } catch (error) {
    throw fromNative(error);
  }
}

/** What the addon threw, as a G2rpoError: it carries one of our codes. Everything else passes through. */
export function fromNative(error: unknown): unknown {
  const { code, message } = error as { code?: string; message?: string };
  if (!(error instanceof Error) || error instanceof G2rpoError || !ERROR_CODES.includes(code as ErrorCode))
    return error;
  return new G2rpoError(code as ErrorCode, message ?? '', {}, { cause: error });
}

/** Calls f; what the native side throws in it becomes a G2rpoError. */
export function callNative<T>(f: (native: Native) => T): T {
  try {
    return f(native());
  } catch (error) {
    throw fromNative(error);
  }
}
