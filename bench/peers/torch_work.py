"""What several kernels by PyTorch are made of."""

import torch
import torch.nn.functional as F


def gradients(outputs, inputs):
    """Gradients of the outputs alone, again and again."""
    slopes = [torch.randn_like(y) for y in outputs]
    return lambda: torch.autograd.grad(outputs, inputs, slopes, retain_graph=True)


def leaf(*shape, dtype=torch.float32, scale=1.0):
    return (torch.randn(*shape) * scale).to(dtype).requires_grad_(True)


def without_graph(work):
    def run():
        with torch.no_grad():
            return work()

    return run


def log_probs_and_entropy(hidden, weight, targets):
    log_p = F.log_softmax((hidden @ weight.t()).float(), -1)
    return log_p.gather(-1, targets[:, None])[:, 0], -(log_p.exp() * log_p).sum(-1)


def clipped(log_probs, old, advantages):
    ratio = torch.exp(log_probs - old)
    return -torch.min(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages)


def quantiles_of_ranks(rewards):
    n = rewards.shape[-1]
    sums = torch.special.ndtri((torch.arange(n, dtype=rewards.dtype, device=rewards.device) + 0.5) / n).cumsum(0)
    sums = torch.cat((sums.new_zeros(1), sums))
    ordered, _ = torch.sort(rewards, dim=-1)
    first = torch.searchsorted(ordered, rewards, right=False)
    last = torch.searchsorted(ordered, rewards, right=True)
    return (sums[last] - sums[first]) / (last - first)
