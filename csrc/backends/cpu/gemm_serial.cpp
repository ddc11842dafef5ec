#include "gemm_serial.h"

namespace g2rpo {

template <class T> void gemm_serial(const Gemm<T>& op) {
  Stream alone;  // without a pool
  run(alone, op);
}
template void gemm_serial(const Gemm<float>&);
template void gemm_serial(const Gemm<double>&);

}  // namespace g2rpo
