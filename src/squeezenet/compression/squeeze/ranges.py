"""Calibration: the scale of every activation of an integer network, from the float network's activations on some
images.

    >>> calibrate(network, images)                                         # doctest: +SKIP

A scale is a step and a zero point: the whole number q stands for `step * q`, and q is between `-zero` and `255 - zero`.
Steps are powers of 2 ^ (1 / 8), an eighth of an octave. Activations that an operation only moves (pooling,
concatenation, ReLU) share one scale, so that moving them needs no arithmetic. An activation that only a ReLU reads is
cut off at 0 where it is computed. For an activation that only a scalar function reads, errors are those after the
function: no levels are spent where the function hardly changes.

For photographs, each group of activations gets the step with the smallest squared error among a few: clipping rare
large values costs less than a coarse step. For synthetic calibration images the largest values are not those of
photographs, so the squared error says little. For them the range covers a share of the images that rises from
`FIRST_COVERED` in the first layer to all in the last: first layers respond to edges, which some synthetic images have
more of than photographs; last layers respond to objects, which no synthetic image shows. If another program measured
ranges on its images (a QDQ file of ONNX has them), these take the place of ranges on synthetic images.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from math import ceil, gcd, log2
from typing import NamedTuple

import torch
from torch import Tensor

from squeezenet.fixed_point import BIAS_BITS, EIGHTHS, FINER, MAX_RESCALING, MIN_RESCALING, Scale, step
from squeezenet.graph import Activation, Add, Conv, Flatten, GlobalAvgPool, Graph, Layer, Linear, Multiply, ReLU
from squeezenet.integer_graph import has_own_scale
from squeezenet.model import Range
from squeezenet.models.network import Network, activate
from squeezenet.sqz.levels_reference import LARGEST

SAMPLE = 1 << 13  # elements of an activation, from each batch, from which its step is chosen
BATCH = 8
WIDE_BITS = 15  # bits of the largest magnitude of the logits on the images
SIGNED = 128  # the zero point of a signed byte
BIAS_MARGIN = 1.25  # by which corrected biases may exceed those of the float network
# What justifies these: docs/experiments.md, "Constants of squeezing".
FINER_TRIED = 3  # eighths of an octave below the step that clips nothing: the finest step that is tried
HALVINGS, MOST_CUTS = 2, 13  # ends of a range before a function are tried in steps of 2 ^ (1 / HALVINGS)
FIRST_COVERED = 0.96  # share of the synthetic images that the first layer's range covers
MEAN_MARGIN = 6  # eighths of an octave by which the input of the last average exceeds the range on synthetic images


class _Seen(NamedTuple):
    """The values of one activation that were observed over all images."""

    smallest: Tensor  # (N,), of each image
    largest: Tensor  # (N,)
    sample: Tensor  # some elements of all images, flat


@torch.no_grad()
def calibrate(
    network: Network,
    images: Tensor,
    synthetic: int = 0,
    mean_margin: int = MEAN_MARGIN,
    grain: int = 1,
    ranges: Mapping[int, Range] | None = None,
) -> tuple[Scale, ...]:
    """The scale of the image and of every operation's output. `images` (N, C, H, W) are prepared.

    The last `synthetic` images are synthetic calibration images. `mean_margin` is used if all images are synthetic; if
    only some are, a part of it is used, in proportion. All exponents are multiples of `grain`. `ranges` are those of
    some values on images of another program.
    """
    graph = network.graph
    batches = [_observe(network, batch) for batch in images.split(BATCH)]
    seen = [_Seen(*map(torch.cat, zip(*each, strict=True))) for each in zip(*batches, strict=True)]
    wide = wide_values(graph)
    groups = shared_scales(graph, wide)
    averaged = {op.inputs[0] for op in (graph.ops[i - 1] for i in wide) if isinstance(op, GlobalAvgPool)}
    scales: list[Scale | None] = [None] * len(seen)
    for group in groups:
        read = [seen[i] for i in _read(graph, group)]
        function = _only_function(graph, group)
        if not any(bool(s.smallest.any() or s.largest.any()) for s in read):
            # Always 0, so other images decide. If a ReLU removes all, its results there are as large as its operands.
            read = [_magnitudes(seen[i]) for i in group]
        if synthetic and 0 not in group:
            margin = mean_margin * synthetic / len(images) if averaged & set(group) else 0
            measured = [ranges[i] for i in _read(graph, group) if ranges and i in ranges]
            typical = _hull(measured) if measured else _usual(read, synthetic, min(group) / len(graph.ops))
            made = _typical_scale(read, function, synthetic, typical, 0 if measured else margin, grain)
        else:
            made = _group_scale(read, function, grain)
        for i in group:
            scales[i] = made
    _make_coarser(network, groups, scales, grain)
    for i in wide:
        scales[i] = _wide_scale(network, i, seen[i], scales, grain)
    return tuple(scale for scale in scales if scale is not None)


def wide_values(graph: Graph) -> set[int]:
    """Numbers of the values that hold the logits in 25 bits: from the layer or average that computes them to the end.

    Value 0 is the image, value i + 1 the output of operation i. Empty if the graph does not end in this way.
    """
    value = len(graph.ops)
    wide = {value}
    while value > 0 and isinstance(graph.ops[value - 1], Flatten):
        value = graph.ops[value - 1].inputs[0]
        wide.add(value)
    made_well = value > 0 and isinstance(graph.ops[value - 1], Conv | Linear | GlobalAvgPool)
    read = [i for op in graph.ops for i in op.inputs]
    return wide if made_well and all(read.count(i) <= 1 for i in wide) else set()


def shared_scales(graph: Graph, wide: set[int]) -> list[list[int]]:
    """All values but those in `wide`, in groups that must share a scale."""
    root = list(range(len(graph.ops) + 1))

    def find(i: int) -> int:
        while root[i] != i:
            i = root[i]
        return i

    for index, op in enumerate(graph.ops):
        if index + 1 not in wide and not has_own_scale(op):
            for i in op.inputs:
                root[find(i)] = find(index + 1)
    groups: dict[int, list[int]] = {}
    for i in range(len(root)):
        if i not in wide:
            groups.setdefault(find(i), []).append(i)
    return list(groups.values())


def _observe(network: Network, images: Tensor) -> list[_Seen]:
    found: list[_Seen] = []
    for value in chain([images], (result for _, _, result in network.run(images))):
        flat = value.movedim(1, -1).flatten(1)  # channels last, as the tensor usually lies in memory: no copy
        every = max(1, flat.numel() // SAMPLE)
        while gcd(every, value.shape[1]) > 1:  # every n-th element would miss some channels
            every += 1
        found.append(_Seen(flat.amin(1), flat.amax(1), flat.flatten()[::every].clone()))
    return found


def _read(graph: Graph, group: Sequence[int]) -> list[int]:
    """The values of `group` that are read by another operation than a ReLU, or by none."""
    readers: dict[int, list[object]] = {i: [] for i in group}
    for op in graph.ops:
        for i in op.inputs:
            if i in readers:
                readers[i].append(op)
    return [i for i in group if not readers[i] or not all(isinstance(op, ReLU) for op in readers[i])]


def _magnitudes(seen: _Seen) -> _Seen:
    largest = torch.maximum(seen.largest.abs(), seen.smallest.abs())
    return _Seen(torch.zeros_like(largest), largest, seen.sample.abs())


def _make_coarser(network: Network, groups: Sequence[Sequence[int]], scales: list[Scale | None], grain: int) -> None:
    """Make scales coarser where the format requires it: biases and rescaling exponents have limits.

    This does no harm to a summand that is negligible in the sum.
    """
    group_of = {i: group for group in groups for i in group}

    def raised(value: int, least: float) -> bool:
        scale = scales[value]
        if scale is None or scale.exponent >= least:
            return False
        exponent = scale.exponent + grain * ceil((least - scale.exponent) / grain)
        for i in group_of[value]:
            scales[i] = replace(scale, exponent=exponent)
        return True

    changed = True
    while changed:
        changed = False
        for value, op in enumerate(network.graph.ops, 1):
            target = scales[value]
            if isinstance(op, Layer):
                changed |= raised(value, _least_exponent(network, op))
            elif isinstance(op, Add) and target is not None:
                for i in op.inputs:
                    source = scales[i]
                    assert source is not None
                    changed |= raised(i, target.exponent - MAX_RESCALING)
                    changed |= raised(value, source.exponent + MIN_RESCALING)
            elif isinstance(op, Multiply) and target is not None:
                sources = {i: source.exponent for i in op.inputs if (source := scales[i]) is not None}
                gap, finest = (
                    target.exponent - sum(sources[i] for i in op.inputs),
                    min(op.inputs, key=sources.__getitem__),
                )
                changed |= raised(finest, sources[finest] + gap - MAX_RESCALING)
                changed |= raised(value, target.exponent + MIN_RESCALING - gap)


def _least_exponent(network: Network, op: Layer) -> float:
    """The exponent of an output scale with which the largest bias of the layer just fits into the file."""
    largest = BIAS_MARGIN * float(network.bias(op.name).detach().abs().max())
    return EIGHTHS * log2(max(largest, 1e-30) * (1 << BIAS_BITS) / LARGEST)


def _only_function(graph: Graph, group: Sequence[int]) -> Activation | None:
    """The scalar function that alone reads the values of `group`, if there is one."""
    readers = [op for op in graph.ops if set(op.inputs) & set(group) and not isinstance(op, ReLU)]
    functions = {(op.function, op.a, op.b): op for op in readers if isinstance(op, Activation)}
    only = len(functions) == 1 and all(isinstance(op, Activation) for op in readers)
    return next(iter(functions.values())) if only else None


class _Errors:
    """Squared errors that rounding causes in a sample, after the function that reads it."""

    def __init__(self, seen: list[_Seen], function: Activation | None, grain: int) -> None:
        self._sample = torch.cat([s.sample for s in seen])
        self._function, self._grain = function, grain
        self._exact = self._after(self._sample)

    def _after(self, values: Tensor) -> Tensor:
        return values if self._function is None else activate(self._function, values)

    def __call__(self, unit: float, zero: int) -> float:
        rounded = (self._sample / unit).round().clamp(-zero, 255 - zero) * unit
        return float((self._after(rounded) - self._exact).square().sum())

    def useful(self, smallest: float, largest: float) -> tuple[float, float]:
        """The part of a range that is worth levels: all of it, or less if a function reads the values."""
        if self._function is not None:
            grain, shares = self._grain, [2 ** (-i / HALVINGS) for i in range(MOST_CUTS)]
            smallest = min((smallest * share for share in shares), key=lambda end: self(*_reach(end, largest, grain)))
            largest = min((largest * share for share in shares), key=lambda end: self(*_reach(smallest, end, grain)))
        return smallest, largest


def _group_scale(seen: list[_Seen], function: Activation | None, grain: int) -> Scale:
    """The scale with the smallest squared error, for values observed on photographs."""
    errors = _Errors(seen, function, grain)
    whole = min(float(s.smallest.min()) for s in seen), max(float(s.largest.max()) for s in seen)
    reach, zero = _reach(*errors.useful(*whole), grain)
    highest = grain * ceil(EIGHTHS * log2(reach) / grain)

    def error(exponent: int) -> float:
        return errors(step(exponent), zero)

    exponent = min(range(highest - max(FINER_TRIED, grain), highest + 1, grain), key=error)
    return Scale(exponent, zero)


def _usual(seen: list[_Seen], synthetic: int, position: float) -> Range:
    """The range of the values that were observed on most of the last `synthetic` images.

    `position` in the network is from 0, the first operation, to 1, the last.
    """
    share = FIRST_COVERED + (1 - FIRST_COVERED) * position
    smallest, largest = _ends(seen)
    return float(smallest[-synthetic:].quantile(1 - share)), float(largest[-synthetic:].quantile(share))


def _typical_scale(
    seen: list[_Seen], function: Activation | None, synthetic: int, typical: Range, margin: float, grain: int
) -> Scale:
    """The scale for a `typical` range of the values `seen`. Those of the last `synthetic` images are synthetic.

    It is made coarser by `margin` eighths of an octave. What real images reach is not clipped.
    """
    smallest, largest = _ends(seen)
    if synthetic < len(smallest):
        real = slice(len(smallest) - synthetic)
        typical = _hull([typical, (float(smallest[real].min()), float(largest[real].max()))])
    reach, zero = _reach(*_Errors(seen, function, grain).useful(*typical), grain)
    return Scale(grain * round((EIGHTHS * log2(reach) + margin) / grain), zero)


def _ends(seen: list[_Seen]) -> tuple[Tensor, Tensor]:
    """The smallest and the largest element of each image: (N,), (N,)."""
    return torch.stack([s.smallest for s in seen]).amin(0), torch.stack([s.largest for s in seen]).amax(0)


def _hull(ranges: Sequence[Range]) -> Range:
    """The smallest range that holds all."""
    return min(low for low, _ in ranges), max(high for _, high in ranges)


def _reach(smallest: float, largest: float, grain: int) -> tuple[float, int]:
    """The smallest step that clips nothing between `smallest` and `largest`, and the zero point.

    With steps that are powers of two, values are for fixed-point devices: they are unsigned or signed bytes.
    """
    zero = 0 if smallest >= 0 else min(255, max(1, round(255 * -smallest / (max(largest, 0.0) - smallest))))
    zero = SIGNED if zero and grain == EIGHTHS else zero
    return max(largest / max(255 - zero, 1), -smallest / zero if zero else 0.0, 1e-9), zero


def _wide_scale(network: Network, value: int, seen: _Seen, scales: Sequence[Scale | None], grain: int) -> Scale:
    """The scale of logits: that which the format defines if they are an average, else by their largest magnitude.

    A bias that is far larger than all logits (the layer's inputs cancel it) makes the scale coarser, so that it fits.
    """
    graph = network.graph
    while isinstance(graph.ops[value - 1], Flatten):
        value = graph.ops[value - 1].inputs[0]
    op = graph.ops[value - 1]
    if isinstance(op, GlobalAvgPool):
        source = scales[op.inputs[0]]
        assert source is not None
        return Scale(source.exponent - FINER, wide=True)
    assert isinstance(op, Layer)
    reach = max(abs(float(seen.smallest.min())), abs(float(seen.largest.max())), 1e-9)
    least = max(EIGHTHS * (log2(reach) - WIDE_BITS), _least_exponent(network, op))
    return Scale(grain * ceil(least / grain), wide=True)
