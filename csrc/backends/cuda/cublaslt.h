// What is called of cuBLASLt, declared as NVIDIA documents it for versions 12 and 13. The library is never part of a build: a machine that
// compiles need not have it, and one that runs may have either version.
#pragma once
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

namespace g2rpo::cuda::lt {

using Status = int;  // 0: done
using Handle = void*;
using Operation = void*;   // what a product is: its types and transposes
using Layout = void*;      // what a matrix is, by columns
using Preference = void*;  // what an algorithm may do

constexpr int kF32 = 0, kBf16 = 14;  // cudaDataType_t
constexpr int kComputeF32 = 68;      // cublasComputeType_t; operands of f32 stay f32
constexpr int32_t kTransposed = 1;   // cublasOperation_t
enum OperationAttribute : int { transposed_a = 3, transposed_b = 4, epilogue = 7, bias_pointer = 8 };
constexpr uint32_t kAddBias = 4;     // cublasLtEpilogue_t: to every column
enum PreferenceAttribute : int { workspace_bytes = 1, reduction_schemes = 3, alignment_a = 5, alignment_b = 6, alignment_c = 7, alignment_d = 8 };
/** Parts of k are added from memory of their own, in an order that is always the same. */
constexpr uint32_t kReduceApart = 2;
/** There is no algorithm for such a product. */
constexpr Status kNotSupported = 15;

struct Algorithm {
  uint64_t data[8];
};
struct Heuristic {
  Algorithm algorithm;
  size_t workspace;
  Status status;
  float waves;
  int reserved[4];
};

struct Library {
  size_t (*version)();
  const char* (*words)(Status);
  Status (*create)(Handle*);
  Status (*destroy)(Handle);
  Status (*create_operation)(Operation*, int compute, int scale);
  Status (*destroy_operation)(Operation);
  Status (*set_operation)(Operation, int attribute, const void* value, size_t bytes);
  Status (*create_layout)(Layout*, int type, uint64_t rows, uint64_t columns, int64_t leading);
  Status (*destroy_layout)(Layout);
  Status (*create_preference)(Preference*);
  Status (*destroy_preference)(Preference);
  Status (*set_preference)(Preference, int attribute, const void* value, size_t bytes);
  Status (*choose)(Handle, Operation, Layout a, Layout b, Layout c, Layout d, Preference, int wanted, Heuristic*, int* found);
  Status (*multiply)(Handle, Operation, const void* alpha, const void* a, Layout, const void* b, Layout, const void* beta, const void* c, Layout, void* d, Layout,
                     const Algorithm*, void* workspace, size_t bytes, cudaStream_t);
};

}  // namespace g2rpo::cuda::lt
