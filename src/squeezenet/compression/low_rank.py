"""Low rank: a layer becomes two thin ones, by truncated SVD (Denton et al. 2014; SqueezeNet, table 2, row "SVD").

    >>> spectra = measure(network, images)                              # doctest: +SKIP
    >>> ranks = choose_ranks(model.graph, spectra, "ratio=5")           # doctest: +SKIP
    >>> thin = factor(model, ranks, spectra)                            # doctest: +SKIP

A layer is a matrix W (outputs, inputs), one for each group. The inputs of a convolution are the values in its window,
so its factors are a convolution with the same window to `rank` channels, and a 1x1 convolution to all outputs (Zhang et
al. 2015, 1505.06798, section 3.1). With U the first `rank` eigenvectors of W C W^T, the factors are U^T W and U. If C
is the identity, this is the truncated SVD, which keeps the weights best. If C is the covariance of the inputs on some
images, it keeps the outputs best.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from squeezenet.errors import UsageError
from squeezenet.factors import DOWN, UP, split
from squeezenet.graph import Conv, Graph, Layer
from squeezenet.model import AnyWeights, Model, Plain, Weights
from squeezenet.models.network import Network

Doubles = NDArray[np.float64]

RANK_WORDS = (
    "energy=X: in each layer the rank that keeps the share X of the energy",
    "ratio=X: X times fewer parameters in all, more reduction in layers where it costs less",
)

WEIGHT_SHARE = 0.01  # weight of the identity in C, since a few images do not vary in all directions
EXACT = 2048  # outputs up to which eigenvectors are computed in double precision; more would take minutes

BATCH = 16


@dataclass(frozen=True)
class Size:
    """The shape of a layer: `groups` matrices (outputs, inputs)."""

    groups: int
    outputs: int
    inputs: int

    @property
    def whole(self) -> int:
        """Weights of the layer before it is factored."""
        return self.groups * self.outputs * self.inputs

    @property
    def a_rank(self) -> int:
        """Parameters for each unit of rank; the first factor has biases too."""
        return self.groups * (self.outputs + self.inputs + 1)

    @property
    def full(self) -> int:
        """The largest rank a matrix of this size can have."""
        return min(self.outputs, self.inputs)

    @property
    def largest(self) -> int:
        """The largest rank whose factors are smaller than the layer; 0 where there is none."""
        return (self.whole - 1) // self.a_rank


@dataclass(frozen=True, eq=False)
class Spectrum:
    """The principal directions of a layer's outputs, by falling energy, and the mean output.

    The energy of a direction is its eigenvalue, summed over groups.
    """

    basis: Tensor  # (groups, outputs, outputs), a direction a column
    energies: Doubles  # (outputs,)
    mean: Tensor  # (groups, outputs, 1), without the bias; zero where there are no images

    def kept(self) -> Doubles:
        """The share of the energy that rank 1, 2, ... keeps: (outputs,)."""
        total = self.energies.sum()
        sums = np.cumsum(self.energies)
        return sums / total if total > 0 else np.ones_like(sums)


def sizes(graph: Graph) -> dict[str, Size]:
    """Layer name -> shape of every layer that may be factored: all but the first, which is small."""
    shapes = graph.weight_shapes()
    found = {}
    for op in graph.layers[1:]:
        groups = op.groups if isinstance(op, Conv) else 1
        out, *rest = shapes[op.name]
        size = Size(groups, out // groups, int(np.prod(rest)))
        if size.largest:
            found[op.name] = size
    return found


@torch.no_grad()
def measure(
    network: Network, images: Tensor | None = None, tick: Callable[[], object] = lambda: None
) -> dict[str, Spectrum]:
    """The spectrum of every layer that may be factored: of its weights, or of its outputs for prepared `images`.

    `tick` is called once a layer.
    """
    wanted = sizes(network.graph)
    moments = {} if images is None else _moments(network, images, wanted)
    found = {}
    for name, size in wanted.items():
        weight = _matrix(network.weight(name)(), size.groups)
        product = weight @ weight.mT
        mean = weight.new_zeros(size.groups, size.outputs, 1)
        if name in moments:
            mean, covariance = (moment.to(weight.dtype) for moment in moments.pop(name))
            product = _unit(covariance) + WEIGHT_SHARE * _unit(product)
        energies, basis = torch.linalg.eigh(product)  # rising
        total = energies.flip(-1).clamp_min(0).sum(0).double().numpy()
        found[name] = Spectrum(basis.flip(-1).clone(), total, mean)
        tick()
    return found


def choose_ranks(graph: Graph, spectra: Mapping[str, Spectrum], rank: str | float) -> dict[str, int]:
    """Layer -> rank, for those that get smaller. `rank` is a share of the full rank, or one of `RANK_WORDS`.

    Raises `UsageError` for what cannot be met.
    """
    kind, _, text = str(rank).rpartition("=")
    value = _number(kind, text, rank)
    held = {name: size for name, size in sizes(graph).items() if name in spectra}
    if kind == "ratio":
        ranks = _by_ratio(graph, held, spectra, value)
    elif kind == "energy":
        ranks = {name: int(np.searchsorted(spectra[name].kept(), value - 1e-12)) + 1 for name in held}
    else:
        ranks = {name: max(1, round(value * size.full)) for name, size in held.items()}
    ranks = {name: chosen for name, chosen in ranks.items() if chosen <= held[name].largest}
    if not ranks:
        raise UsageError(f"rank {rank} makes no layer smaller; ask for less, such as ratio=2")
    return ranks


def factor(model: Model, ranks: Mapping[str, int], spectra: Mapping[str, Spectrum]) -> Model:
    """The model with two layers, of float weights, for each that `ranks` names; the bias is in the second."""
    weights: dict[str, AnyWeights] = {}
    ops: dict[str, Layer] = {op.name: op for op in model.graph.layers}
    for name, held in model.weights.items():
        if name not in ranks:
            weights[name] = held
            continue
        op, rank, shape = ops[name], ranks[name], held.weight.shape
        groups = op.groups if isinstance(op, Conv) else 1
        whole = _matrix(torch.from_numpy(held.weight.values()), groups)
        up = spectra[name].basis[..., :rank]  # (groups, outputs, rank)
        down = up.mT @ whole  # (groups, rank, inputs)
        mean = spectra[name].mean
        bias = held.bias + (mean - up @ (up.mT @ mean)).flatten().numpy()
        # Both factors get equal norms, so that pruning and one learning rate suit both.
        scale = down.norm(dim=2).clamp_min(torch.finfo(torch.float32).tiny).sqrt()  # (groups, rank)
        down, up = down / scale[..., None], up * scale[:, None]
        between = (groups * rank,)
        weights[name + DOWN] = Weights(_plain(down, between + shape[1:]), np.zeros(between, np.float32))
        window = (1,) * (len(shape) - 2)
        weights[name + UP] = Weights(_plain(up, (op.out, rank, *window)), bias.astype(np.float32))
    return replace(model, graph=split(model.graph, ranks), weights=weights, ranges={})


def _by_ratio(graph: Graph, held: Mapping[str, Size], spectra: Mapping[str, Spectrum], ratio: float) -> dict[str, int]:
    """Ranks that keep the largest product of the layers' energies (Zhang et al. 2015, section 3.3).

    Greedy: begin with all layers whole; take the step, from one rank of a layer to the next, that loses the least log
    energy per removed parameter, until the target is met. The last step is taken in part. A layer's first step goes
    from the whole layer to the rank of the least such loss.
    """
    total = sum(int(np.prod(shape)) + shape[0] for shape in graph.weight_shapes().values())
    steps = []
    for name, size in held.items():
        lost = -np.log(np.maximum(spectra[name].kept()[: size.largest], 1e-300))
        prices = lost / (size.whole - size.a_rank * np.arange(1, size.largest + 1))
        first = int(prices.argmin())
        steps.append((float(prices[first]), name, first + 1))
        steps += [(float(lost[r - 1] - lost[r]) / size.a_rank, name, r) for r in range(first, 0, -1)]
    ranks: dict[str, int] = {}
    excess = total - total / ratio
    for _, name, rank in sorted(steps, key=lambda step: (step[0], -step[2])):
        if excess <= 0:
            break
        size = held[name]
        before = size.a_rank * ranks[name] if name in ranks else size.whole
        spare = int((before - size.a_rank * rank - excess) // size.a_rank)
        ranks[name] = min(rank + max(0, spare), size.largest)
        excess -= before - size.a_rank * ranks[name]
    if excess > 0:
        least = total / (total / ratio + excess)
        raise UsageError(f"rank ratio={ratio:g}: rank 1 everywhere gives {least:.1f}; ask for less")
    return ranks


def _moments(network: Network, images: Tensor, wanted: Mapping[str, Size]) -> dict[str, tuple[Tensor, Tensor]]:
    """Layer name -> mean and covariance of its outputs without bias, over all positions of all images."""
    sums = {n: torch.zeros(s.groups, s.outputs, 1, dtype=torch.double) for n, s in wanted.items()}
    products = {n: torch.zeros(s.groups, s.outputs, s.outputs, dtype=torch.double) for n, s in wanted.items()}
    counts = dict.fromkeys(wanted, 0)
    for part in images.split(BATCH):
        for op, _, result in network.run(part):
            if isinstance(op, Layer) and op.name in wanted:
                rows = result.transpose(0, 1).flatten(1) - network.bias(op.name)[:, None]  # (out, positions)
                rows = rows.double().view(wanted[op.name].groups, wanted[op.name].outputs, -1)
                sums[op.name] += rows.sum(2, keepdim=True)
                products[op.name] += rows @ rows.mT
                counts[op.name] += rows.shape[2]
    found = {}
    for name, count in counts.items():
        mean = sums[name] / count
        found[name] = (mean, products.pop(name) / count - mean @ mean.mT)
    return found


def _unit(product: Tensor) -> Tensor:
    """`product`, scaled so that the mean of its diagonals is 1; unchanged if that mean is 0."""
    scale = product.diagonal(dim1=1, dim2=2).mean()
    return product / scale if scale > 0 else product


def _matrix(weight: Tensor, groups: int) -> Tensor:
    """The weight as (groups, outputs, inputs), in double precision up to `EXACT` outputs."""
    rows = weight.reshape(groups, len(weight) // groups, -1)
    return rows.double() if rows.shape[1] <= EXACT else rows.float()


def _plain(values: Tensor, shape: tuple[int, ...]) -> Plain:
    return Plain(values.reshape(shape).float().contiguous().numpy())


def _number(kind: str, text: str, rank: str | float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if kind not in ("", "energy", "ratio") or not (value > 1 if kind == "ratio" else 0 < value <= 1):
        raise UsageError(f"rank {rank}: give a share of the full rank above 0, or {'; '.join(RANK_WORDS)} (above 1)")
    return value
