#!/usr/bin/env bash
# Everything that a machine with an NVIDIA GPU can say of this checkout, with the CUDA toolkit, CMake and a C++20 compiler: no network, and
# Node from gpu/ (npm run gpu:pack) where it is not installed. What is printed also goes to the file named, if one is, and as JSON beside it:
#   bash scripts/gpu-run.sh [FILE] [STAGE...]
# Stages: build; kernels (each held to the CPU's, and timed); policy (tests with G2RPO_DEVICE=cuda); golden; train (the quick start); bench;
# peers (kernels beside PyTorch, Triton, cuDNN; policies of the released shapes beside transformers, where G2RPO_PEER_PYTHON or python3 has them, and a
# whole step of 8B by phase); sanitize; and, where it is named, trace
# (what of a bench runs on the GPU and when nothing does, by CUPTI of the toolkit: TRACED=trueSize:2B)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec > >(tee "${1:-/dev/null}") 2>&1
stages=("${@:2}")
((${#stages[@]})) || stages=(build kernels policy golden train bench peers sanitize)
known='build kernels policy golden train bench peers sanitize trace'
for stage in "${stages[@]}"; do
  [[ " $known " == *" $stage "* ]] || { echo "gpu-run: no stage $stage; there are $known"; exit 1; }
done
nvidia-smi --query-gpu=name --format=csv,noheader >/dev/null 2>&1 || { echo 'gpu-run: no NVIDIA GPU here: nvidia-smi finds none'; exit 1; }
for stage in policy golden train bench peers trace; do  # the others are programs of their own
  [[ " ${stages[*]} " != *" $stage "* || -f gpu/built.tar.xz || -f build/Release/g2rpo.node ]] || { echo "gpu-run: stage $stage wants the addon, which npm run build makes"; exit 1; }
done
command -v nvcc >/dev/null || { echo 'gpu-run: nvcc is not there; it comes with the CUDA toolkit'; exit 1; }
failed=0

if ! command -v node >/dev/null && [[ -f gpu/node.xz ]]; then
  mkdir -p gpu/bin
  [[ -x gpu/bin/node ]] || { xz -dc gpu/node.xz >gpu/bin/node && chmod +x gpu/bin/node; }
  export PATH="$PWD/gpu/bin:$PATH"
fi
[[ -d node_modules || ! -f gpu/node_modules.tar.xz ]] || { mkdir node_modules && tar xJf gpu/node_modules.tar.xz -C node_modules; }
[[ -d dist || ! -f gpu/built.tar.xz ]] || tar xJf gpu/built.tar.xz
if [[ -z ${G2RPO_CUBLASLT:-} ]]; then
  # a Python environment often has cuBLASLt where the loader does not look
  found=$(timeout 30 find /opt /usr /home -name 'libcublasLt.so.1[23]' -print 2>/dev/null | sort -V | tail -1 || true)
  [[ -z $found ]] || export G2RPO_CUBLASLT=$found
fi
export G2RPO_CUDA_LIBRARY="$PWD/build/cuda/g2rpo-cuda.so"

build() {
  local architecture=${CUDA_ARCHITECTURE:-$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -1 | tr -d .)}
  [[ $architecture != 90 ]] || architecture=90a  # instructions of warpgroups are there for it alone
  local generator=()
  ! command -v ninja >/dev/null || generator=(-G Ninja)
  cmake -S . -B build/cuda "${generator[@]}" -DG2RPO_CUDA=ON -DCMAKE_BUILD_TYPE=Release "-DCMAKE_CUDA_ARCHITECTURES=$architecture" >/dev/null
  cmake --build build/cuda --parallel "$(nproc)" >build/cuda/build.log || { cat build/cuda/build.log; exit 1; }
  nvcc --version | grep release
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
}
kernels() { build/cuda/g2rpo_cuda ${QUICK:+--quick} | if [[ ${QUICK:-} ]]; then grep -v '^ok'; else cat; fi; }
policy() { G2RPO_DEVICE=cuda node node_modules/vitest/vitest.mjs run --maxWorkers 8 ${TESTS:-tests/kernels tests/model tests/train tests/rollout}; }
golden() { G2RPO_DEVICE=cuda node node_modules/jiti/lib/jiti-cli.mjs ./scripts/golden/run.ts tests/golden/model; }
train() {
  rm -rf "${RUN:-build/quickstart}"
  time G2RPO_DEVICE=cuda node dist/cli/main.js quickstart --dir "${RUN:-build/quickstart}"
}
bench() { G2RPO_DEVICE=cuda node node_modules/jiti/lib/jiti-cli.mjs ./bench/run.ts ${BENCHES:-update sampling step engine}; }
peers() {
  local python=${G2RPO_PEER_PYTHON:-python3}
  if timeout 120 "$python" -c 'import torch, transformers, safetensors; assert torch.cuda.is_available()' 2>/dev/null; then
    export G2RPO_PEER_PYTHON=$python
  else
    echo "gpu-run: $python has no torch for this GPU, or no transformers: nothing stands beside our times"
    unset G2RPO_PEER_PYTHON
  fi
  [[ -z ${G2RPO_PEER_PYTHON:-} ]] || "$G2RPO_PEER_PYTHON" bench/peers/gpu_kernels.py build/cuda/g2rpo_cuda ${PEER_KERNELS:-}
  G2RPO_DEVICE=cuda node node_modules/jiti/lib/jiti-cli.mjs ./bench/run.ts ${PEERS:-trueSize:2B trueSize:8B trueStep:8B}
}
trace() {
  local cuda=${CUDA_HOME:-/usr/local/cuda}
  g++ -O2 -shared -fPIC -std=c++20 -I"$cuda/include" -I"$cuda/extras/CUPTI/include" bench/support/kernelTrace.cpp -o build/cuda/kernelTrace.so \
    -L"$cuda/lib64" -L"$cuda/extras/CUPTI/lib64" -lcupti "-Wl,-rpath,$cuda/lib64:$cuda/extras/CUPTI/lib64"
  G2RPO_DEVICE=cuda CUDA_INJECTION64_PATH=$PWD/build/cuda/kernelTrace.so KERNEL_TRACE=build/cuda/trace.txt \
    node node_modules/jiti/lib/jiti-cli.mjs ./bench/run.ts ${TRACED:-trueSize:2B}
  cat build/cuda/trace.txt
}
sanitize() {  # our own kernels, several tests at a time: a library's products are left out
  command -v compute-sanitizer >/dev/null || { echo 'gpu-run: compute-sanitizer is not there; memcheck and racecheck not run'; return; }
  export G2RPO_CUBLASLT=off
  local tool
  for tool in memcheck racecheck; do
    build/cuda/g2rpo_cuda --names | xargs -P 6 -I{} bash -c '
      out=$(timeout "$3" compute-sanitizer --tool "$1" --error-exitcode 9 build/cuda/g2rpo_cuda --quick "$2" 2>&1) && code=0 || code=$?
      echo "$1 $2: $(((code == 124)) && echo "cut off after $3 s" || grep "SUMMARY" <<<"$out" | sed "s/^=* *//")"
      ((code == 0 || code == 124)) || grep -v "^ok" <<<"$out" | head -20
      ((code == 0 || code == 124))' _ "$tool" {} "${SANITIZE_SECONDS:-600}" || return 1
  done
}

if [[ " ${stages[*]} " != *' build '* && ! -f $G2RPO_CUDA_LIBRARY ]]; then
  echo "gpu-run: $G2RPO_CUDA_LIBRARY is not there; stage build makes it"
  exit 1
fi
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
nvidia-smi --query-gpu=name,driver_version,memory.total,compute_cap --format=csv,noheader >"$results/machine.log" 2>/dev/null || true
nvcc --version | grep release >>"$results/machine.log"
for stage in "${stages[@]}"; do
  echo "== $stage"
  begin=$SECONDS
  set +e  # which holds for all that stands before ||, so that a stage could not end at its first failure
  (set -e; "$stage") 2>&1 | tee "$results/$stage.log"
  status=${PIPESTATUS[0]}
  set -e
  ((status == 0)) || { echo "gpu-run: $stage failed"; failed=1; }
  echo "$stage $((SECONDS - begin)) $status" >>"$results/stages"
  echo "== $stage: $((SECONDS - begin)) s"
  [[ $stage != build || $status == 0 ]] || break
done
! command -v node >/dev/null || node scripts/gpu-results.mjs "$results" ${1:+"$1.json"}
exit "$failed"
