"""How much an error in a layer's weights changes the network's answers: the second derivatives of the divergence.

    >>> hessians_of(network, images)["conv1"].importance                   # doctest: +SKIP
    0.0021

The divergence is that of Kullback and Leibler, in nats per image, between the class probabilities of the network with
errors and of the network without. To second order it is half a quadratic form of the errors, whose matrix is the
Hessian. For this loss the Hessian is the Fisher information. One layer's part of it is taken as a Kronecker product
(Martens and Grosse 2015, 1503.05671): for the errors `e` in the weights of one output,

    divergence = 0.5 * importance * e^T covariance e

- `covariance` is that of the inputs which the output reads, at all positions of all images. It is not the second
  moment: an error that only shifts the mean of an output is compensated by the bias.
- `importance` is one number for all outputs of a layer: the mean square of the gradient with respect to a weight,
  divided by the mean variance of an input. The gradient is that of a whole image, because errors at neighbouring
  positions have the same sign. The labels are drawn from the network's own class probabilities, as in the definition
  of the Fisher information. One number per output gave worse networks: a few hundred images show too few of the
  classes (docs/experiments.md).
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
from squeezenet.model import Outputs
from squeezenet.models.network import Network, padded
from squeezenet.models.outputs import own_loss

Doubles = NDArray[np.float64]

BATCH = 8
BLOCK = 1024  # inputs of an output whose weights compensate for each other's errors; more inputs make several blocks
ROUNDING = 2.0**-12  # share of the mean square of a layer's inputs below which float32 cannot tell their variance
POSITIONS = 800  # positions of an image at which the covariance is measured
DAMPING = 0.01
"""Share of the mean variance of the inputs that is added to the variance of every input, for photographs."""
DAMPING_SYNTHETIC = 0.1
"""The same for synthetic calibration images: directions in which they do not vary may vary in photographs."""
RANK = 1.0
"""The share that is added, where there are few images, is at least this times inputs / samples of the covariance."""


@dataclass(frozen=True, eq=False)
class Block:
    """The covariance of some inputs of an output. Errors in the weights of these inputs compensate for each other.

    `order` (inputs,) is the order in which the weights are rounded. `covariance` (inputs, inputs) is in that order, and
    so is `factor`, the upper Cholesky factor of the inverse of `covariance`.
    """

    order: NDArray[np.int64]
    covariance: Doubles
    factor: Doubles


@dataclass(frozen=True, eq=False)
class LayerHessian:
    """Second derivatives of the divergence in one layer, in nats per image.

    `importance` is the factor of the module's formula. `trace` is the trace of the Hessian with respect to all outputs
    of the layer: independent errors of variance `v` in them cost `0.5 * trace * v`. `means` are those of the inputs.
    """

    importance: float
    trace: float
    blocks: tuple[tuple[Block, ...], ...]  # for each group of the layer, for each block of inputs
    means: Doubles  # (groups, inputs of an output)

    @property
    def residual_variance(self) -> Doubles:
        """Variance of an input given all that follow it in `order`, geometric mean over the inputs: (groups,)."""
        return np.exp([np.mean([-2 * np.log(np.diag(block.factor)).mean() for block in each]) for each in self.blocks])


def hessians_of(
    network: Network,
    images: Tensor,
    damping: float = DAMPING,
    seed: int = 0,
    tick: Callable[[float], object] = lambda share: None,
    outputs: Outputs = "classes",
    temperature: float = 1.0,
    rank: float = 0.0,
) -> dict[str, LayerHessian]:
    """Layer name -> second derivatives. `images` (N, C, H, W) are prepared; a few hundred are enough.

    `damping` is a share of the mean variance of a layer's inputs. `tick` gets the share of the work that was just done.
    `outputs`: what the logits mean. The loss is that of `logits / temperature`. `rank`: see `RANK`.
    """
    random = torch.Generator().manual_seed(seed)
    totals = {op.name: _Totals(op) for op in network.graph.layers}
    for batch in images.split(BATCH):
        inputs, results, logits = _run(network, batch)
        gradients = torch.autograd.grad(own_loss(logits / temperature, outputs, random), list(results.values()))
        for name, gradient in zip(results, gradients, strict=True):
            totals[name].add(inputs[name], gradient)
        tick(len(batch) / len(images))
    return {name: total.hessian(len(images), damping, rank) for name, total in totals.items()}


def blocks_of(size: int) -> list[slice]:
    """Slices of at most `BLOCK` that cover the `size` inputs of an output."""
    return [slice(start, min(start + BLOCK, size)) for start in range(0, size, BLOCK)]


def inputs_of(op: Layer, x: Tensor, most: int | None = None) -> Tensor:
    """The inputs of a layer: (N, groups, inputs of one output, positions), at about `most` positions (None: all)."""
    if isinstance(op, Linear):
        return x[:, None, :, None]
    _, height, width = op.shape(*x.shape[1:])
    x, padding = padded(op, x)
    every = max(1, round(sqrt(height * width / most))) if most else 1
    down, right = (stride * every for stride in op.stride)
    if prod(op.kernel) == 1 and not any(padding):  # `unfold` would copy all of `x` first
        patches = x[:, :, ::down, ::right].flatten(2).contiguous()
    else:
        patches = F.unfold(x, op.kernel, op.dilation, padding, (down, right))
    return patches.reshape(len(x), op.groups, -1, patches.shape[2])


def _run(network: Network, batch: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
    """Layer name -> its input; layer name -> its output, which gradients reach; and the logits."""
    inputs: dict[str, Tensor] = {}
    outputs: dict[str, Tensor] = {}
    for op, operands, result in network.run(batch.detach().requires_grad_()):
        if isinstance(op, Layer):
            inputs[op.name], outputs[op.name] = operands[0].detach(), result
    return inputs, outputs, result


class _Totals:
    """Sums over images for one layer."""

    def __init__(self, op: Layer) -> None:
        self._op = op
        self._groups = op.groups if isinstance(op, Conv) else 1
        self._squares = torch.zeros((), dtype=torch.double)
        self._trace = 0.0
        self._products: list[Tensor] = []  # by block: (groups, inputs, inputs)
        self._sums = torch.zeros(())  # (groups, inputs)
        self._count = 0

    @torch.no_grad()
    def add(self, x: Tensor, gradient: Tensor) -> None:
        """Add a batch: the inputs of the layer, and the gradient with respect to its outputs."""
        read = inputs_of(self._op, x)
        each = gradient.reshape(len(x), self._groups, -1, read.shape[3])
        weights = each @ read.mT - each.sum(3, keepdim=True) * read.mean((0, 3)).unsqueeze(1)
        self._squares += weights.square().sum().double()
        self._trace += float(gradient.square().sum())
        thin = read[..., :: max(1, read.shape[3] // POSITIONS)].permute(1, 2, 0, 3).flatten(2)
        products = [(part @ part.mT).double() for part in (thin[:, block] for block in blocks_of(thin.shape[1]))]
        self._products = [a + b for a, b in zip(self._products, products, strict=True)] if self._count else products
        self._sums = self._sums + thin.sum(2).double()
        self._count += thin.shape[2]

    def hessian(self, images: int, damping: float, rank: float = 0.0) -> LayerHessian:
        """The second derivatives, after `images` images were added."""
        mean = (self._sums / self._count).numpy()
        covariances = [
            [_covariance(product[group].numpy() / self._count, mean[group, block])
             for product, block in zip(self._products, blocks_of(mean.shape[1]), strict=True)]
            for group in range(self._groups)
        ]  # fmt: skip
        variance = sum(np.trace(block) for each in covariances for block in each)
        trace = self._trace / images
        importance = float(self._squares) / images / max(variance * self._op.out / self._groups, 1e-30)
        least = rank / self._count  # for each input of a block

        def damped_by(share: float) -> tuple[tuple[Block, ...], ...]:
            return tuple(tuple(_block(c, max(share, least * len(c))) for c in each) for each in covariances)

        blocks = damped_by(DAMPING)
        found = LayerHessian(importance, trace, blocks, mean)
        if damping == DAMPING:
            return found
        damped = replace(found, blocks=damped_by(damping))
        # Damping changes how errors compensate for each other, not how much errors of the layer cost.
        return replace(
            damped,
            importance=importance * float(np.exp(np.log(found.residual_variance / damped.residual_variance).mean())),
        )


def _covariance(squares: Doubles, mean: Doubles) -> Doubles:
    """E[x x^T] - E[x] E[x]^T. Inputs that are nearly constant get the variance that rounding of float32 can hide."""
    covariance: Doubles = squares - np.outer(mean, mean)
    hidden = ROUNDING * np.trace(squares)
    return covariance if np.trace(covariance) > hidden else covariance + np.eye(len(mean)) * (hidden / len(mean))


def _block(covariance: Doubles, damping: float) -> Block:
    """Inputs of large variance come first, so that most of the others can compensate for their errors."""
    order = np.argsort(-np.diag(covariance), kind="stable")
    ordered = covariance[np.ix_(order, order)]
    least = damping * np.trace(covariance) / len(covariance) + 1e-12
    while True:
        damped = ordered + np.eye(len(covariance)) * least
        # chol(inverse(M)).T without the unstable inverse of M: factor M backwards and invert the triangle.
        triangle, failed = torch.linalg.cholesky_ex(torch.from_numpy(damped).flip(0, 1))
        if not failed:
            break
        least *= 10  # not positive definite, by the errors of float32
    identity = torch.eye(len(covariance), dtype=torch.double)
    inverse = torch.linalg.solve_triangular(triangle, identity, upper=False)
    return Block(order, damped, inverse.flip(0, 1).numpy())
