import { callNative } from '../../lib/runtime/native.ts';

/** What one core can do in a second: f32 operations in multiply-adds, bytes read and written by a copy. */
export interface Peaks {
  flops: number;
  bytes: number;
}

/** The peaks of one core of this machine, measured now (0.3 s), with the instruction set that kernels use. */
export const measurePeaks = (): Peaks => callNative((n) => n.measurePeaks());
