"""What errors in a layer's weights cost, and how those of one output make up for each other.

    >>> curvature_of(network, images)["conv1"].importance                  # doctest: +SKIP
    0.0021

The divergence from the answers before is, to second order, half the errors' square in the Fisher information, which is
taken apart (as in Kronecker factors: Martens and Grosse 2015, 1503.05671). Between the inputs of an output it is the
covariance of what the layer reads; how much the outputs of a layer matter is the expected square of their weights'
gradient, for labels drawn from the network's own answers. All outputs of a layer matter the same: which classes a few
hundred images show is chance (on the authors' network, single importances double what the last layer costs). The
gradient of whole images counts, not of single positions: errors at neighbouring positions go the same way. On that
network that is 1.5 times as much for the first layer, 12 times for the last. Errors of the mean do not count, since
biases make up for them.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod, sqrt

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from squeezenet.graph import Conv, Layer, Linear
from squeezenet.models.network import Network

Doubles = NDArray[np.float64]

BATCH = 8
BLOCK = 1024  # inputs whose errors make up for each other; larger layers are several blocks
POSITIONS = 800  # of an image that the covariance is taken over


REAL = 0.01
MADE_UP = 0.1
"""Damping: the share of the mean variance that is added to the variance of every input, for images that were taken and
for made-up ones. What dead leaves do not show still happens."""


@dataclass(frozen=True, eq=False)
class Block:
    """Inputs of an output whose errors make up for each other.

    `order` (inputs,) is the one they are treated in; `covariance` (inputs, inputs) and `factor`, the upper Cholesky
    factor of its inverse, are in that order.
    """

    order: NDArray[np.int64]
    covariance: Doubles
    factor: Doubles


@dataclass(frozen=True, eq=False)
class Curvature:
    """Of one layer. `importance`: nats an image that a squared error of 1 in an output's sums costs, twice. `slope`:
    those that errors of variance 1, each by itself, cost in all that it gives, twice."""

    importance: float
    slope: float
    blocks: tuple[tuple[Block, ...], ...]  # by group of the layer

    @property
    def left(self) -> Doubles:
        """Variance of an input that is left when all later ones have made up for it, on average: (groups,)."""
        return np.exp([np.mean([-2 * np.log(np.diag(block.factor)).mean() for block in each]) for each in self.blocks])


def curvature_of(
    network: Network,
    images: Tensor,
    damping: float = REAL,
    seed: int = 0,
    tick: Callable[[float], object] = lambda share: None,
) -> dict[str, Curvature]:
    """By the layers' names. `images` (N, C, H, W) are prepared; a few hundred are enough.

    `damping` is a share of the mean variance of a layer's inputs. `tick` gets the share of the work that a batch was.
    """
    random = torch.Generator().manual_seed(seed)
    totals = {op.name: _Totals(op) for op in network.graph.layers}
    for batch in images.split(BATCH):
        inputs, outputs, logits = _run(network, batch)
        drawn = torch.multinomial(logits.detach().softmax(1), 1, generator=random)[:, 0]
        gradients = torch.autograd.grad(F.cross_entropy(logits, drawn, reduction="sum"), list(outputs.values()))
        for name, gradient in zip(outputs, gradients, strict=True):
            totals[name].add(inputs[name], gradient)
        tick(len(batch) / len(images))
    return {name: total.curvature(len(images), damping) for name, total in totals.items()}


def blocks_of(size: int) -> list[slice]:
    """The inputs of an output, in the blocks they are treated in."""
    return [slice(start, min(start + BLOCK, size)) for start in range(0, size, BLOCK)]


def inputs_of(op: Layer, x: Tensor, most: int | None = None) -> Tensor:
    """What the outputs of a layer read: (N, groups, inputs of one output, positions), of about `most` positions."""
    if isinstance(op, Linear):
        return x[:, None, :, None]
    height, width = (
        (size + 2 * pad - kernel) // stride + 1
        for size, pad, kernel, stride in zip(x.shape[2:], op.padding, op.kernel, op.stride, strict=True)
    )
    every = max(1, round(sqrt(height * width / most))) if most else 1
    down, right = (stride * every for stride in op.stride)
    if prod(op.kernel) == 1 and not any(op.padding):  # an input of each position; `unfold` copies all of `x` first
        patches = x[:, :, ::down, ::right].flatten(2).contiguous()
    else:
        patches = F.unfold(x, op.kernel, padding=op.padding, stride=(down, right))
    return patches.reshape(len(x), op.groups, -1, patches.shape[2])


def _run(network: Network, batch: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
    """What each layer reads, what it gives, and the logits."""
    graph, last = network.graph, network.graph.last_use()
    values: list[Tensor | None] = [batch]
    inputs: dict[str, Tensor] = {}
    outputs: dict[str, Tensor] = {}
    for index, op in enumerate(graph.ops):
        operands = [v for i in op.inputs if (v := values[i]) is not None]
        result = network.apply_op(op, operands)
        if isinstance(op, Layer):
            result = result if result.requires_grad else result.detach().requires_grad_()
            inputs[op.name], outputs[op.name] = operands[0].detach(), result
        values.append(result)
        for i in op.inputs:
            if last[i] == index:
                values[i] = None
    logits = values[-1]
    assert logits is not None
    return inputs, outputs, logits


class _Totals:
    """Sums over images, of one layer."""

    def __init__(self, op: Layer) -> None:
        self._op = op
        self._groups = op.groups if isinstance(op, Conv) else 1
        self._squares = torch.zeros((), dtype=torch.double)
        self._slopes = 0.0
        self._products: list[Tensor] = []  # by block: (groups, inputs, inputs)
        self._sums = torch.zeros(())  # (groups, inputs)
        self._count = 0

    @torch.no_grad()
    def add(self, x: Tensor, gradient: Tensor) -> None:
        """What the layer read, and the gradient of what it gave, for a batch."""
        read = inputs_of(self._op, x)
        each = gradient.reshape(len(x), self._groups, -1, read.shape[3])
        weights = each @ read.mT - each.sum(3, keepdim=True) * read.mean((0, 3)).unsqueeze(1)
        self._squares += weights.square().sum().double()
        self._slopes += float(gradient.square().sum())
        thin = read[..., :: max(1, read.shape[3] // POSITIONS)].permute(1, 2, 0, 3).flatten(2)
        products = [(part @ part.mT).double() for part in (thin[:, block] for block in blocks_of(thin.shape[1]))]
        self._products = [a + b for a, b in zip(self._products, products, strict=True)] if self._count else products
        self._sums = self._sums + thin.sum(2).double()
        self._count += thin.shape[2]

    def curvature(self, images: int, damping: float) -> Curvature:
        """Of all that was added."""
        mean = (self._sums / self._count).numpy()
        covariances = [
            [product[group].numpy() / self._count - np.outer(mean[group, block], mean[group, block])
             for product, block in zip(self._products, blocks_of(mean.shape[1]), strict=True)]
            for group in range(self._groups)
        ]  # fmt: skip
        variance = sum(np.trace(block) for each in covariances for block in each)
        slope = self._slopes / images
        importance = float(self._squares) / images / max(variance * self._op.out / self._groups, 1e-30)
        found = Curvature(importance, slope, tuple(tuple(_block(c, REAL) for c in each) for each in covariances))
        if damping == REAL:
            return found
        damped = replace(found, blocks=tuple(tuple(_block(c, damping) for c in each) for each in covariances))
        # Damping shall blur what makes up for what, not how much a layer matters.
        return replace(damped, importance=importance * float(np.exp(np.log(found.left / damped.left).mean())))


def _block(covariance: Doubles, damping: float) -> Block:
    """What matters most comes first, and has most left to make up for it."""
    order = np.argsort(-np.diag(covariance), kind="stable")
    least = damping * np.trace(covariance) / len(covariance) + 1e-12
    damped = covariance[np.ix_(order, order)] + np.eye(len(covariance)) * least
    # chol(inverse(M)).T without the unstable inverse of M: factor M backwards and invert the triangle.
    return Block(order, damped, np.linalg.inv(np.linalg.cholesky(damped[::-1, ::-1]))[::-1, ::-1])
