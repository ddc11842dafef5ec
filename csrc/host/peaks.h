// What one core of this machine can do at most, measured: the yardstick of the benches.
#pragma once

namespace g2rpo::host {

/** Multiply-adds in f32 count as two operations; a byte copied counts twice, because it is read and written. */
struct Peaks {
  double flops;
  double bytes;
};

/** Of the calling thread, in its CPU time, with the instruction set that kernels are limited to. Takes about 0.3 s. */
Peaks measure_peaks();

}  // namespace g2rpo::host
