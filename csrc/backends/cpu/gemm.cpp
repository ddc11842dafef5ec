// hot
#include "gemm_tiles.h"

namespace g2rpo {

KERNEL_WEIGHT(cpu, Gemm) { product<T>(stream, op); }

}  // namespace g2rpo
