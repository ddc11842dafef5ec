// In the place of cuBLASLt where there is no GPU: what it is asked for is checked and computed on the CPU, as its documentation has it, so that
// layouts, transposes and sizes are known to be right before a device sees them. Loaded as the library is (csrc/backends/cuda/blas.cu).
#include "../../../csrc/backends/cuda/cublaslt.h"
#include "../../../csrc/core/dtype.h"

#include <cstdio>
#include <cstdlib>

using namespace g2rpo::cuda::lt;

namespace {

struct OperationHeld {
  int32_t transposed_a = 0, transposed_b = 0;
  uint32_t epilogue = 1;  // none
  const float* bias = nullptr;
};
struct LayoutHeld {
  int type;
  uint64_t rows, columns;
  int64_t leading;
};
struct PreferenceHeld {
  uint64_t workspace = 0;
  uint32_t schemes = 7, alignment[4] = {256, 256, 256, 256};
};

constexpr Status kInvalid = 7;
constexpr uint64_t kChosen = 0x67327270;  // in the first word of every algorithm
constexpr uint64_t kUnknownRows = 136;    // of a result for which there is no algorithm

void must(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "cuBLASLt, emulated: %s\n", what);
  std::abort();
}

float element(const void* data, const LayoutHeld& l, uint64_t row, uint64_t column) {
  const uint64_t at = column * static_cast<uint64_t>(l.leading) + row;
  return l.type == kF32 ? static_cast<const float*>(data)[at] : __uint_as_float(static_cast<uint32_t>(static_cast<const uint16_t*>(data)[at]) << 16);
}

/** Rows and columns of an operand as it is multiplied. */
struct Operand {
  const void* data;
  const LayoutHeld& layout;
  bool transposed;
  uint64_t rows() const { return transposed ? layout.columns : layout.rows; }
  uint64_t columns() const { return transposed ? layout.rows : layout.columns; }
  float at(uint64_t i, uint64_t j) const { return transposed ? element(data, layout, j, i) : element(data, layout, i, j); }
};

template <class T> T& held(void* of) { return *static_cast<T*>(of); }

}  // namespace

extern "C" {

#define EXPORT __attribute__((visibility("default")))

EXPORT size_t cublasLtGetVersion() { return 130000; }
EXPORT const char* cublasLtGetStatusString(Status status) { return status == kInvalid ? "CUBLAS_STATUS_INVALID_VALUE" : "unknown"; }
EXPORT Status cublasLtCreate(Handle* handle) { return *handle = new int, 0; }
EXPORT Status cublasLtDestroy(Handle handle) { return delete static_cast<int*>(handle), 0; }

EXPORT Status cublasLtMatmulDescCreate(Operation* operation, int compute, int scale) {
  must(compute == kComputeF32 && scale == kF32, "sums and scales are to be f32");
  return *operation = new OperationHeld, 0;
}
EXPORT Status cublasLtMatmulDescDestroy(Operation operation) { return delete static_cast<OperationHeld*>(operation), 0; }
EXPORT Status cublasLtMatmulDescSetAttribute(Operation operation, int attribute, const void* value, size_t bytes) {
  auto& o = held<OperationHeld>(operation);
  if (bytes != (attribute == bias_pointer ? sizeof(void*) : sizeof(int32_t))) return kInvalid;
  if (attribute == bias_pointer) return o.bias = *static_cast<const float* const*>(value), 0;
  if (attribute == epilogue) return o.epilogue = *static_cast<const uint32_t*>(value), 0;
  if (attribute != transposed_a && attribute != transposed_b) return kInvalid;
  (attribute == transposed_a ? o.transposed_a : o.transposed_b) = *static_cast<const int32_t*>(value);
  return 0;
}

EXPORT Status cublasLtMatrixLayoutCreate(Layout* layout, int type, uint64_t rows, uint64_t columns, int64_t leading) {
  if (leading < static_cast<int64_t>(rows)) return kInvalid;
  return *layout = new LayoutHeld{type, rows, columns, leading}, 0;
}
EXPORT Status cublasLtMatrixLayoutDestroy(Layout layout) { return delete static_cast<LayoutHeld*>(layout), 0; }

EXPORT Status cublasLtMatmulPreferenceCreate(Preference* preference) { return *preference = new PreferenceHeld, 0; }
EXPORT Status cublasLtMatmulPreferenceDestroy(Preference preference) { return delete static_cast<PreferenceHeld*>(preference), 0; }
EXPORT Status cublasLtMatmulPreferenceSetAttribute(Preference preference, int attribute, const void* value, size_t bytes) {
  auto& p = held<PreferenceHeld>(preference);
  if (bytes != (attribute == workspace_bytes ? sizeof(uint64_t) : sizeof(uint32_t))) return kInvalid;
  if (attribute == workspace_bytes) return p.workspace = *static_cast<const uint64_t*>(value), 0;
  const uint32_t number = *static_cast<const uint32_t*>(value);
  if (attribute == reduction_schemes) return p.schemes = number, 0;
  if (attribute < alignment_a || attribute > alignment_d) return kInvalid;
  return p.alignment[attribute - alignment_a] = number, 0;
}

EXPORT Status cublasLtMatmulAlgoGetHeuristic(Handle, Operation operation, Layout, Layout, Layout c, Layout d, Preference preference, int wanted, Heuristic* results, int* found) {
  const auto& p = held<PreferenceHeld>(preference);
  must((p.schemes & ~kReduceApart) == 0, "parts of k are to be added in a fixed order");
  must(wanted == 1 && c == d, "one algorithm whose C and result lie alike is wanted");
  results[0] = {};
  *found = 0;
  if (held<LayoutHeld>(d).columns == kUnknownRows) return 0;
  results[0].algorithm.data[0] = kChosen;
  results[0].algorithm.data[1] = p.workspace;
  for (int i = 0; i < 4; i++) results[0].algorithm.data[2 + i] = p.alignment[i];
  // how the bias lies is known from the pointer alone
  const auto bias = reinterpret_cast<uintptr_t>(held<OperationHeld>(operation).bias);
  results[0].algorithm.data[6] = bias & -bias;
  return *found = 1, 0;
}

EXPORT Status cublasLtMatmul(Handle, Operation operation, const void* alpha, const void* a, Layout a_layout, const void* b, Layout b_layout, const void* beta, const void* c,
                             Layout c_layout, void* d, Layout d_layout, const Algorithm* algorithm, void* workspace, size_t bytes, cudaStream_t) {
  must(algorithm->data[0] == kChosen && workspace && bytes >= algorithm->data[1], "the algorithm and the memory are to be those asked for");
  const void* pointers[] = {a, b, c, d};
  for (int i = 0; i < 4; i++) must(reinterpret_cast<uintptr_t>(pointers[i]) % algorithm->data[2 + i] == 0, "an operand is less aligned than was said");
  const auto& o = held<OperationHeld>(operation);
  must(!algorithm->data[6] || reinterpret_cast<uintptr_t>(o.bias) % algorithm->data[6] == 0, "the bias is less aligned than the one that the algorithm was chosen for");
  const Operand left{a, held<LayoutHeld>(a_layout), o.transposed_a == kTransposed}, right{b, held<LayoutHeld>(b_layout), o.transposed_b == kTransposed};
  const auto& out = held<LayoutHeld>(d_layout);
  if (left.columns() != right.rows() || left.rows() != out.rows || right.columns() != out.columns || c_layout != d_layout) return kInvalid;
  must(out.type == kF32 || (*static_cast<const float*>(beta) == 0 && o.epilogue == 1), "what is added is f32 as the result is");
  must(o.epilogue == 1 || (o.epilogue == kAddBias && o.bias), "an epilogue is a bias, which is there");
  for (uint64_t j = 0; j < out.columns; j++)
    for (uint64_t i = 0; i < out.rows; i++) {
      float sum = 0;
      for (uint64_t k = 0; k < left.columns(); k++) sum += left.at(i, k) * right.at(k, j);
      const float factor = *static_cast<const float*>(beta);
      sum = *static_cast<const float*>(alpha) * sum + (factor == 0 ? 0 : factor * element(c, out, i, j)) + (o.epilogue == kAddBias ? o.bias[i] : 0);
      const uint64_t to = j * static_cast<uint64_t>(out.leading) + i;
      if (out.type == kF32) static_cast<float*>(d)[to] = sum;
      else static_cast<uint16_t*>(d)[to] = g2rpo::narrow(sum).bits;
    }
  return 0;
}

}  // extern "C"
