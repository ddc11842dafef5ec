"""The work of kernels by PyTorch, tuned, on one thread. (Not kernels.py: transformers imports a package of that name if there is one.)

Lines of JSON in, one each out, after a first one of versions:
    {"kernel": "gemm", "dims": {"M": 512, …}, "dtype": "float32"}  →  {"ways": ["torch"]}  what is to be timed from now on; none where it is not known
    {"way": "torch", "count": 5}               →  {"seconds": 0.01}   CPU seconds of one call, mean of `count`

A backward kernel is timed alone, over the graph of a forward pass that was made before.
"""

import json
import os
import sys
import time

from tuned import tuned

tuned(1)
answers = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)

import torch
import torch.nn.functional as F

from torch_work import clipped, gradients, leaf, log_probs_and_entropy, quantiles_of_ranks, without_graph

torch.set_num_threads(1)
torch.manual_seed(0)


def linear(M, N, K):
    x, weight, bias, residual = torch.randn(M, K), torch.randn(N, K), torch.randn(N), torch.randn(M, N)
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, M)
    pointwise = torch.ops.mkldnn._linear_pointwise.binary
    return {
        "torch": without_graph(lambda: F.linear(x, weight, bias).add_(residual)),
        "oneDNN packed": without_graph(lambda: pointwise(x, residual, packed, bias, "add")),
    }


def linear_backward_input(M, N, K):
    d_y, weight = torch.randn(M, N), torch.randn(N, K)
    return lambda: d_y @ weight


def linear_backward_weight(M, N, K):
    d_y, x, d_weight, d_bias = torch.randn(M, N), torch.randn(M, K), torch.randn(N, K), torch.randn(N)
    return lambda: (d_weight.addmm_(d_y.t(), x), d_bias.add_(d_y.sum(0)))


def gemm(M, N, K):
    a, b = torch.randn(M, K), torch.randn(K, N)
    return lambda: a @ b


def head_inputs(N, H, V):
    return leaf(N, H), leaf(V, H, scale=H**-0.5), torch.randint(0, V, (N,))


def head(N, H, V):
    inputs = head_inputs(N, H, V)
    return without_graph(lambda: log_probs_and_entropy(*inputs))


def head_policy_loss(N, H, V):
    hidden, weight, targets = head_inputs(N, H, V)
    with torch.no_grad():
        old = log_probs_and_entropy(hidden, weight, targets)[0]
    advantages = torch.randn(N)

    def run():
        hidden.grad = weight.grad = None
        log_probs, entropy = log_probs_and_entropy(hidden, weight, targets)
        (clipped(log_probs, old, advantages).mean() - 0.01 * entropy.mean()).backward()

    return run


def rms_norm(R, D):
    x, weight = torch.randn(R, D), torch.randn(D)
    return without_graph(lambda: F.rms_norm(x, (D,), weight, 1e-6))


def rms_norm_backward(R, D):
    x, weight = leaf(R, D), leaf(D)
    return gradients([F.rms_norm(x, (D,), weight, 1e-6)], [x, weight])


def swiglu(R, I):
    gate, up = torch.randn(R, I), torch.randn(R, I)
    return without_graph(lambda: F.silu(gate).mul_(up))


def swiglu_backward(R, I):
    gate, up = leaf(R, I), leaf(R, I)
    return gradients([F.silu(gate) * up], [gate, up])


def attention_inputs(S, H, G, D):
    return [leaf(1, heads, S, D) for heads in (H, G, G)]


def attend(query, key, value):
    return F.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=query.shape[1] != key.shape[1])


def attention(Z, S, H, G, D, keys):
    inputs = attention_inputs(S, H, G, D)
    return without_graph(lambda: attend(*inputs)) if Z == 1 else None  # it knows no ragged segments


def attention_backward(Z, S, H, G, D, keys):
    inputs = attention_inputs(S, H, G, D)
    return gradients([attend(*inputs)], inputs) if Z == 1 else None


def policy_loss(N, kind=None, klKind=None):
    if kind is not None or klKind is not None:
        return None
    log_probs, old, advantages = torch.randn(N) * 0.1 - 1, torch.randn(N) * 0.1 - 1, torch.randn(N)

    @torch.compile
    def loss(x, old, advantages):
        return clipped(x, old, advantages).mean()

    def run():
        x = log_probs.detach().requires_grad_(True)
        loss(x, old, advantages).backward()

    return run


def adamw(N):
    parameter = torch.nn.Parameter(torch.randn(N))
    parameter.grad = torch.randn(N)
    return torch.optim.AdamW([parameter], lr=1e-6, weight_decay=0.01, fused=True).step


def sample(B, V):
    logits = torch.randn(B, V) * 4

    def run():
        log_p = F.log_softmax(logits, -1)
        p = log_p.exp()
        token = torch.multinomial(p, 1)
        return log_p.gather(-1, token), -(p * log_p).sum(-1)

    return without_graph(run)


def gaussian_advantage(B, S, ragged):
    """Only groups of one size: ragged ones it takes group by group."""
    if ragged or S == 1:
        return None
    rewards = torch.randn(S, B // S, dtype=torch.float64)
    return lambda: quantiles_of_ranks(rewards)


def g2rpo_advantages(groups, size, tasks):
    """In groups, then in tasks: over lists in Python as trainers have it, and over groups that stand in order, indices made beforehand."""
    rewards = (torch.rand(groups * size, dtype=torch.float64) * 20).round() / 20
    group_of = [str(i // size) for i in range(groups * size)]
    task_of = [str(i // size % tasks) for i in range(groups * size)]
    rows_of_tasks = [torch.tensor([i for i in range(groups * size) if i // size % tasks == task]) for task in range(tasks)]

    def loops():
        advantages = rewards
        for labels in (group_of, task_of):
            rows_of, out = {}, torch.empty_like(advantages)
            for row, label in enumerate(labels):
                rows_of.setdefault(label, []).append(row)
            for rows in map(torch.tensor, rows_of.values()):
                out[rows] = quantiles_of_ranks(advantages[rows])
            advantages = out
        return advantages

    def vectorised():
        in_groups = quantiles_of_ranks(rewards.view(groups, size)).flatten()
        out = torch.empty_like(in_groups)
        for rows in rows_of_tasks:
            out[rows] = quantiles_of_ranks(in_groups[rows])
        return out

    return {"Python loops": loops, "vectorised torch": vectorised}


def normal_quantile(N):
    p = torch.rand(N, dtype=torch.float64)
    return lambda: torch.special.ndtri(p)


KERNELS = [gemm, linear, linear_backward_input, linear_backward_weight, head, head_policy_loss, rms_norm, rms_norm_backward,
           swiglu, swiglu_backward, attention, attention_backward, policy_loss, adamw, sample, gaussian_advantage,
           g2rpo_advantages, normal_quantile]  # fmt: skip
BY_NAME = {kernel.__name__: kernel for kernel in KERNELS}


def answer(what):
    answers.write(json.dumps(what) + "\n")


answer({"versions": {"torch": torch.__version__}})
ways = {}
for line in sys.stdin:
    ask = json.loads(line)
    if "kernel" in ask:
        make = BY_NAME.get(ask["kernel"])
        torch.set_default_dtype(getattr(torch, ask["dtype"]))
        made = make(**ask["dims"]) if make else None
        ways = made if isinstance(made, dict) else {"torch": made} if made else {}
        answer({"ways": list(ways)})
    else:
        work = ways[ask["way"]]
        begin = time.process_time()
        for _ in range(ask["count"]):
            work()
        answer({"seconds": (time.process_time() - begin) / ask["count"]})
