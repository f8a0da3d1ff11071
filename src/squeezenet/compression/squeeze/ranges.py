"""How fine each value of an integer network is: scales from what a float network computes for a few images.

    >>> scales = calibrate(network, images)                                # doctest: +SKIP

Values that an operation only moves (pools, joins, ReLU) share one scale, so moving them costs nothing on any device. A
value that a ReLU alone reads is cut off at 0 where it is made. Of the steps of an eighth of an octave, each
group gets the one with the smallest squared error: a few cut-off outliers are cheaper than a coarse grid.

Of made-up images, largest values are not those of photographs. Early layers look for edges, and some of these have more
than any photograph; late ones look for things, which none of them shows. So what may be cut off goes by depth: in the
first layer what a few of the images reach beyond, in the last one nothing. What the logits are means of goes further.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, gcd, log2

import torch
from torch import Tensor

from squeezenet.fixed_point import EIGHTHS, FINER, Scale, step
from squeezenet.graph import AvgPool, Concat, Conv, Flatten, GlobalAvgPool, Graph, Linear, MaxPool, ReLU
from squeezenet.models.network import Network

SAMPLE = 1 << 13  # elements of a value that are kept from each batch, to choose its step by
BATCH = 8
WIDE_BITS = 15  # of logits
TRIED = 3
"""Eighths below the step that cuts nothing off. Largest values matter more than their squared error says: on the
authors' network 8-bit activations alone diverged by 0.026, 0.018 and 0.024 nats with 0, 3 and 10."""
SHARE = 0.96
"""Of made-up images, those that the first layer's range is enough for. At 420 kB the authors' network diverged on two
kinds of photographs by 0.023 and 0.029 nats with this, by 0.023 and 0.036 with 0.9 (two seeds each)."""
EVIDENCE = 6
"""Eighths by which what the logits are means of may go beyond any made-up image, since none of them shows a thing, and
rounding is cheap there. Of eight seeds this takes the worst from 0.027 to 0.024 nats, and leaves the others alone."""


@dataclass(frozen=True)
class _Seen:
    """What one value was, over all images."""

    smallest: Tensor  # (N,), of each image
    largest: Tensor
    sample: Tensor

    @staticmethod
    def joined(parts: Sequence["_Seen"]) -> "_Seen":
        return _Seen(
            torch.cat([part.smallest for part in parts]),
            torch.cat([part.largest for part in parts]),
            torch.cat([part.sample for part in parts]),
        )


@torch.no_grad()
def calibrate(network: Network, images: Tensor, made_up: bool = False) -> tuple[Scale, ...]:
    """A scale for every value of the network's graph. `images` (N, C, H, W) are prepared; `made_up` if no camera took
    them."""
    graph = network.graph
    batches = [_observe(network, batch) for batch in images.split(BATCH)]
    seen = [_Seen.joined(each) for each in zip(*batches, strict=True)]
    wide = wide_values(graph)
    groups = shared_scales(graph, wide)
    averaged = {op.inputs[0] for op in (graph.ops[i - 1] for i in wide) if isinstance(op, GlobalAvgPool)}
    scales: list[Scale | None] = [None] * len(seen)
    for group in groups:
        read = [seen[i] for i in _read(graph, group)]
        if made_up and 0 not in group:
            made = _typical_scale(read, min(group) / len(graph.ops), EVIDENCE if averaged & set(group) else 0)
        else:
            made = _group_scale(read)
        for i in group:
            scales[i] = made
    for i in wide:
        scales[i] = _wide_scale(graph, i, seen[i], scales)
    return tuple(scale for scale in scales if scale is not None)


def wide_values(graph: Graph) -> set[int]:
    """The values that hold the logits at full precision: from the layer or mean that makes them to the end."""
    value = len(graph.ops)
    wide = {value}
    while value > 0 and isinstance(graph.ops[value - 1], Flatten):
        value = graph.ops[value - 1].inputs[0]
        wide.add(value)
    made_well = value > 0 and isinstance(graph.ops[value - 1], Conv | Linear | GlobalAvgPool)
    read = [i for op in graph.ops for i in op.inputs]
    return wide if made_well and all(read.count(i) <= 1 for i in wide) else set()


def shared_scales(graph: Graph, wide: set[int]) -> list[list[int]]:
    """The values but `wide` ones, in groups that must share a scale."""
    root = list(range(len(graph.ops) + 1))

    def find(i: int) -> int:
        while root[i] != i:
            i = root[i]
        return i

    for index, op in enumerate(graph.ops):
        if index + 1 not in wide and isinstance(op, ReLU | MaxPool | AvgPool | Flatten | Concat | GlobalAvgPool):
            for i in op.inputs:
                root[find(i)] = find(index + 1)
    groups: dict[int, list[int]] = {}
    for i in range(len(root)):
        if i not in wide:
            groups.setdefault(find(i), []).append(i)
    return list(groups.values())


def _observe(network: Network, images: Tensor) -> list[_Seen]:
    graph, last = network.graph, network.graph.last_use()
    found: list[_Seen] = []
    values: list[Tensor | None] = [images]
    for index in range(-1, len(graph.ops)):
        if index >= 0:
            op = graph.ops[index]
            values.append(network.apply_op(op, [v for i in op.inputs if (v := values[i]) is not None]))
            for i in op.inputs:
                if last[i] == index:
                    values[i] = None
        value = values[-1]
        assert value is not None
        flat = value.movedim(1, -1).flatten(1)  # as it lies in memory, if that is by place: copies are slow
        every = max(1, flat.numel() // SAMPLE)
        while gcd(every, value.shape[1]) > 1:  # it would come back to some channels only
            every += 1
        found.append(_Seen(flat.amin(1), flat.amax(1), flat.flatten()[::every].clone()))
    return found


def _read(graph: Graph, group: Sequence[int]) -> list[int]:
    """The values of a group that anything but a ReLU reads."""
    readers: dict[int, list[object]] = {i: [] for i in group}
    for op in graph.ops:
        for i in op.inputs:
            if i in readers:
                readers[i].append(op)
    return [i for i in group if not readers[i] or not all(isinstance(op, ReLU) for op in readers[i])]


def _group_scale(seen: list[_Seen]) -> Scale:
    reach, zero = _reach(min(float(s.smallest.min()) for s in seen), max(float(s.largest.max()) for s in seen))
    highest = ceil(EIGHTHS * log2(reach))
    sample = torch.cat([s.sample for s in seen])

    def error(exponent: int) -> float:
        unit = step(exponent)
        rounded = (sample / unit).round().clamp(-zero, 255 - zero) * unit
        return float((rounded - sample).square().sum())

    exponent = min(range(highest - TRIED, highest + 1), key=error)
    return Scale(exponent, zero)


def _typical_scale(seen: list[_Seen], depth: float, beyond: int) -> Scale:
    """The step for what most made-up images stay within, and so many eighths more; `depth` from 0 to 1."""
    share = SHARE + (1 - SHARE) * depth
    smallest, largest = torch.stack([s.smallest for s in seen]).amin(0), torch.stack([s.largest for s in seen]).amax(0)
    reach, zero = _reach(float(smallest.quantile(1 - share)), float(largest.quantile(share)))
    return Scale(round(EIGHTHS * log2(reach)) + beyond, zero)


def _reach(smallest: float, largest: float) -> tuple[float, int]:
    """The step that cuts nothing off, and the zero."""
    zero = 0 if smallest >= 0 else min(255, max(1, round(255 * -smallest / (max(largest, 0.0) - smallest))))
    return max(largest / max(255 - zero, 1), -smallest / zero if zero else 0.0, 1e-9), zero


def _wide_scale(graph: Graph, value: int, seen: _Seen, scales: Sequence[Scale | None]) -> Scale:
    while isinstance(graph.ops[value - 1], Flatten):
        value = graph.ops[value - 1].inputs[0]
    op = graph.ops[value - 1]
    if isinstance(op, GlobalAvgPool):
        source = scales[op.inputs[0]]
        assert source is not None
        return Scale(source.exponent - FINER, wide=True)
    reach = max(abs(float(seen.smallest.min())), abs(float(seen.largest.max())), 1e-9)
    return Scale(ceil(EIGHTHS * (log2(reach) - WIDE_BITS)), wide=True)
