import { callNative } from '../../lib/runtime/native.ts';

/** What one core can do in a second: operations in multiply-adds in f32 and of bf16 numbers, bytes read and written by a copy. */
export interface Peaks {
  flops: number;
  /** as many as in f32 where kernels have no instruction for them */
  bf16Flops: number;
  bytes: number;
}

/** The peaks of one core of this machine, measured now (0.3 to 0.5 s), with the instruction set that kernels use. */
export const measurePeaks = (): Peaks => callNative((n) => n.measurePeaks());
