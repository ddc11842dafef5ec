"""Kernels on one NVIDIA GPU: ours, as build/cuda/g2rpo_cuda times them, beside PyTorch's in the same minutes.

    python gpu_kernels.py PROGRAM [CASE ...]     PROGRAM: build/cuda/g2rpo_cuda; cases are named as its tests are, all of them by default

What stands beside ours: PyTorch as it is (eager), the Triton kernels that torch.compile makes (triton), and for attention the kernels of cuDNN and of
flash attention. Medians of eleven samples by events, after a warm-up. Where a way cannot be had the table says why. `peak` is what a call of that way
allocates beside its inputs. With `--device cpu` sizes are small and times mean nothing: for trying the script itself.
"""

import argparse
import math
import re
import statistics
import subprocess
import sys
import time

cli = argparse.ArgumentParser()
cli.add_argument("program")
cli.add_argument("cases", nargs="*")
cli.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
options = cli.parse_args()

import torch
import torch._functorch.config
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from torch_work import clipped, gradients, leaf, log_probs_and_entropy, quantiles_of_ranks, without_graph

# a graph is gone backward through many times
torch._functorch.config.donated_buffer = False
on_gpu = options.device == "cuda"
torch.manual_seed(0)
torch.set_default_device(options.device)


def size(n):
    """A length, of which a CPU takes a part."""
    return n if on_gpu else max(8, n // 256)


def rms_norm(rows, width):
    x, weight = leaf(size(rows), width), leaf(width)
    norm = lambda x, weight: F.rms_norm(x, (width,), weight, 1e-6)
    return {
        "": {"eager": without_graph(lambda: norm(x, weight)), "triton": compiled(norm, x, weight)},
        "_backward": {
            "eager": Made(lambda: gradients([norm(x, weight)], [x, weight])),
            "triton": compiled_backward(norm, x, weight),
        },
    }


def swiglu(count):
    gate, up = leaf(size(count)), leaf(size(count))
    mlp = lambda gate, up: F.silu(gate) * up
    return {
        "": {"eager": without_graph(lambda: mlp(gate, up)), "triton": compiled(mlp, gate, up)},
        "_backward": {"eager": Made(lambda: gradients([mlp(gate, up)], [gate, up])), "triton": compiled_backward(mlp, gate, up)},
    }


class Made:
    """Work that is made when its turn comes, and timed without that."""

    def __init__(self, make):
        self.make = make


def compiled(work, *inputs):
    return Made(lambda: without_graph(lambda made=torch.compile(work): made(*inputs)))


def compiled_backward(work, *inputs):
    return Made(lambda: gradients([torch.compile(work)(*inputs)], list(inputs)))


def head(tokens, width, vocabulary):
    tokens, vocabulary = size(tokens), size(vocabulary)
    hidden = leaf(tokens, width, dtype=torch.bfloat16)
    weight = leaf(vocabulary, width, dtype=torch.bfloat16, scale=width**-0.5)
    targets = torch.randint(0, vocabulary, (tokens,))
    old, advantages = torch.full((tokens,), -math.log(vocabulary)), torch.randn(tokens)

    def loss(hidden, weight):
        log_probs, entropy = log_probs_and_entropy(hidden, weight, targets)
        return clipped(log_probs, old, advantages).mean() - 0.01 * entropy.mean()

    def both(of):
        def run():
            hidden.grad = weight.grad = None
            of(hidden, weight).backward()

        return run

    forward = lambda hidden, weight: log_probs_and_entropy(hidden, weight, targets)
    return {
        "": {"eager": without_graph(lambda: forward(hidden, weight)), "triton": compiled(forward, hidden, weight)},
        "_policy_loss": {"eager": both(loss), "triton": Made(lambda: both(torch.compile(loss)))},
    }


def attention(count, length, heads, key_heads, width, causal):
    length = length if on_gpu else 32
    q, k, v = (leaf(count, h, length, width, dtype=torch.bfloat16) for h in (heads, key_heads, key_heads))
    attend = lambda: F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=heads != key_heads)

    def by(backend, work):
        def run():
            with sdpa_kernel(backend):
                return work()

        return run

    ways = {"cuDNN": SDPBackend.CUDNN_ATTENTION, "flash": SDPBackend.FLASH_ATTENTION} if on_gpu else {"eager": SDPBackend.MATH}
    return {
        "": {name: without_graph(by(backend, attend)) for name, backend in ways.items()},
        "_backward": {name: Made(by(backend, lambda: gradients([attend()], [q, k, v]))) for name, backend in ways.items()},
    }


def adamw(count, tensors):
    parameters = [torch.nn.Parameter(torch.randn(size(count // tensors))) for _ in range(tensors if on_gpu else 2)]
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    return {"": {"fused": torch.optim.AdamW(parameters, lr=1e-6, weight_decay=0.01, fused=True).step}}


def sample(rows, vocabulary):
    logits = torch.randn(size(rows), size(vocabulary)) * 4

    def draw(logits):
        log_p = F.log_softmax(logits, -1)
        p = log_p.exp()
        # the largest logit plus Gumbel noise: torch.multinomial is slower
        token = (logits - torch.empty_like(logits).exponential_().log()).argmax(-1, keepdim=True)
        return token, log_p.gather(-1, token), -(p * log_p).sum(-1)

    return {"": {"eager": without_graph(lambda: draw(logits)), "triton": compiled(draw, logits)}}


def gaussian_advantage(groups, each):
    rewards = torch.randn(size(groups), each, dtype=torch.float64)
    return {"": {"eager": without_graph(lambda: quantiles_of_ranks(rewards))}}


# test of the program, what its lines are called (a pattern behind the kernel's name), and the same work
CASES = [
    ("rms_norm", r" f32 8192 x 2048", lambda: rms_norm(8192, 2048)),
    ("rms_norm", r" f32 1048576 x 128", lambda: rms_norm(1048576, 128)),
    ("swiglu", r" f32 50331648", lambda: swiglu(50331648)),
    ("head", r" bf16 8192 x 2048 x 151936.*", lambda: head(8192, 2048, 151936)),
    ("attention", r" f32 in bf16.* 8 x 1024, 32 of 8 heads of 128", lambda: attention(8, 1024, 32, 8, 128, True)),
    ("attention", r" f32 in bf16.* 1 x 8192, 32 of 8 heads of 128", lambda: attention(1, 8192, 32, 8, 128, True)),
    ("attention", r" f32 in bf16.* 16 x 1024, all see all, 16 heads of 64", lambda: attention(16, 1024, 16, 16, 64, False)),
    ("optimizer", r" f32 280000000 in 200", lambda: adamw(280000000, 200)),
    ("sample", r" f32 512 x 151936, temperature 1, top-k 0, top-p 1, penalty 1", lambda: sample(512, 151936)),
    ("gaussian_advantage", r" f64, 65536 x 8", lambda: gaussian_advantage(65536, 8)),
]
KERNELS = {"optimizer": "adamw"}


def microseconds(work):
    """One call, by events of the device."""

    def measure(launches):
        if not on_gpu:
            begin = time.perf_counter()
            for _ in range(launches):
                work()
            return 1e6 * (time.perf_counter() - begin) / launches
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        for _ in range(launches):
            work()
        end.record()
        torch.cuda.synchronize()
        return 1e3 * begin.elapsed_time(end) / launches

    measure(3)
    launches = 1 if measure(1) > 5000 else 20
    return statistics.median(measure(launches) for _ in range(11))


def peak_bytes(work):
    if not on_gpu:
        return None
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    work()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def reason(error):
    return str(error).strip().split("\n")[0][:100] or type(error).__name__


def ours(tests):
    """Microseconds by the name of a line."""
    done = subprocess.run([options.program, *tests], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{options.program} {' '.join(tests)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    lines = re.findall(r"^time\s+(.+?)\s+([\d.]+) us", done.stdout, re.M)
    return [(name, float(value)) for name, value in lines]


def main():
    cases = [case for case in CASES if not options.cases or case[0] in options.cases]
    unknown = set(options.cases) - {case[0] for case in CASES}
    if unknown or not cases:
        sys.exit(f"no case {', '.join(sorted(unknown))}; there are {', '.join(sorted({case[0] for case in CASES}))}")
    own = ours(sorted({case[0] for case in cases}))
    where = torch.cuda.get_device_name() if on_gpu else "a CPU"
    print(f"on {where}, torch {torch.__version__}; microseconds, and theirs over ours")
    for test, pattern, make in cases:
        for suffix, ways in make().items():
            kernel = KERNELS.get(test, test) + suffix
            matching = [value for name, value in own if re.fullmatch(kernel + pattern, name)]
            mine = min(matching, default=None)
            shown = pattern.replace(".*", "").strip()
            print(f"{kernel} {shown}".ljust(72) + ("not timed by the program" if mine is None else f"{mine:10.1f}"))
            for name, work in ways.items():
                try:
                    made = work.make() if isinstance(work, Made) else work
                    taken, bytes_ = microseconds(made), peak_bytes(made)
                    ratio = "" if mine is None else f"  {taken / mine:6.2f}"
                    peak = "" if bytes_ is None else f"  peak {bytes_ / 1e9:.2f} GB"
                    print(f"    {name}".ljust(72) + f"{taken:10.1f}{ratio}{peak}")
                except Exception as error:  # a way that is not there says why
                    print(f"    {name}".ljust(72) + f"not measured: {reason(error)}")


main()
