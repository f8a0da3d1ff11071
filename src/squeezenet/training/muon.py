"""Muon: momentum made orthogonal before it is applied (Jordan et al. 2024, github.com/KellerJordan/Muon).

The update of a convolution, as a matrix (out, in * kh * kw), gets singular values near 1: every direction learns at the
same rate. PyTorch's own `torch.optim.Muon` takes matrices only. Weights are held at a fixed norm, which a
network with batch normalisation does not notice, so the rate means a rotation and needs no decay of weights.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # the quintic of Jordan et al.: fast at small singular values, ends near 1
ITERATIONS = 3


class Muon(torch.optim.Optimizer):
    """For weights of two dimensions or more that are followed by normalisation; others need another optimiser."""

    def __init__(self, params: Iterable[Any], lr: float = 0.24, momentum: float = 0.6) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None if closure is None else closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(weight)
                velocity = state["momentum_buffer"].mul_(group["momentum"]).add_(weight.grad)
                ahead = weight.grad.add(velocity, alpha=group["momentum"])  # Nesterov
                weight.mul_(len(weight) ** 0.5 / weight.norm().clamp(min=1e-7))
                weight.add_(orthogonal(ahead.flatten(1)).view_as(weight), alpha=-group["lr"])
        return loss


def orthogonal(matrix: Tensor) -> Tensor:
    """`matrix` (m, n) with its singular values brought near 1, by Newton-Schulz iterations."""
    a, b, c = NEWTON_SCHULZ
    x: Tensor = matrix / matrix.norm().clamp(min=1e-7)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x
