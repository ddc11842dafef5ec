// The product on the calling thread alone, for the bodies of parallel loops.
#pragma once
#include "gemm.h"

namespace g2rpo {

/** The same bits as run(stream, op), by the best instruction set of this machine; scratch memory is the calling thread's. */
template <class T> void gemm_serial(const Gemm<T>& op);
extern template void gemm_serial(const Gemm<float>&);
extern template void gemm_serial(const Gemm<double>&);

}  // namespace g2rpo
