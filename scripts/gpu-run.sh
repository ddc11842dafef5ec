#!/usr/bin/env bash
# Everything that a machine with an NVIDIA GPU can say of this checkout, with the CUDA toolkit, CMake and a C++20 compiler alone: no Node,
# no network. Builds the kernels, holds each to the CPU's and times it, and looks for bad memory accesses and races where
# compute-sanitizer is there. What it prints also goes to the file named, if one is: bash scripts/gpu-run.sh [FILE]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec > >(tee "${1:-/dev/null}") 2>&1
command -v nvcc >/dev/null || { echo 'gpu-run: nvcc is not there; it comes with the CUDA toolkit'; exit 1; }
architecture=${CUDA_ARCHITECTURE:-$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -1 | tr -d .)}
generator=()
command -v ninja >/dev/null && generator=(-G Ninja)
cmake -S . -B build/cuda "${generator[@]}" -DG2RPO_CUDA=ON -DCMAKE_BUILD_TYPE=Release "-DCMAKE_CUDA_ARCHITECTURES=$architecture" >/dev/null
cmake --build build/cuda --parallel "$(nproc)" >build/cuda/build.log || { cat build/cuda/build.log; exit 1; }

# a Python environment often has cuBLASLt where the loader does not look
if [ -z "${G2RPO_CUBLASLT:-}" ]; then
  found=$(find / -path /proc -prune -o -name 'libcublasLt.so.1[23]' -print 2>/dev/null | sort -V | tail -1 || true)
  [ -z "$found" ] || export G2RPO_CUBLASLT=$found
fi

nvcc --version | grep release
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
build/cuda/g2rpo_cuda
for tool in memcheck racecheck; do
  if command -v compute-sanitizer >/dev/null; then
    echo "compute-sanitizer $tool"
    # of our own kernels: the library's products are left out
    G2RPO_CUBLASLT=off compute-sanitizer --tool "$tool" --error-exitcode 9 build/cuda/g2rpo_cuda --quick | grep -v '^ok' | tail -4
  else
    echo "gpu-run: compute-sanitizer is not there; $tool not run"
  fi
done
