// What one core of this machine can do at most, measured: the yardstick of the benches.
#pragma once

namespace g2rpo::host {

/**
 * Multiply-adds count as two operations, in f32 and of bf16 numbers; of those too f32's where kernels have no instruction for them or emulate it. A byte
 * copied counts twice, because it is read and written.
 */
struct Peaks {
  double flops;
  double bf16_flops;
  double bytes;
};

/** Of the calling thread, in its CPU time, with the instruction set that kernels are limited to. Takes about 0.3 s. */
Peaks measure_peaks();

}  // namespace g2rpo::host
