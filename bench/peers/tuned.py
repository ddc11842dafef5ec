"""Settings without which PyTorch on a CPU is slower than it can be."""

import os
import sys


def tuned(threads, device="cpu"):
    """Begins this process anew with them, unless it has them: glibc and OpenMP read them when a process begins."""
    wanted = {
        # without it, every large result is a fresh mapping whose pages fault one by one: a ratio over the allocator
        "GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=8589934592:glibc.malloc.trim_threshold=17179869184:glibc.malloc.mmap_max=0",
        **{name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")},
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        **({"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {}),
    }
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **wanted})
