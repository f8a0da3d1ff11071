"""Which values are worth nine bits instead of eight: those whose rounding costs much and that little is made of.

    >>> scales = deepened(network.graph, scales, curvature)                # doctest: +SKIP

A deep value has half the step for the same reach, so a quarter of the squared error, and not a byte more in the file;
but who reads it has twice the work. On the authors' network, a third of what 8-bit activations cost is lost in the
squeeze layer of the first Fire module: 16 channels that a twenty-fifth of all products are made of.
"""

from collections.abc import Mapping
from dataclasses import replace

from squeezenet.compression.squeeze.curvature import Curvature
from squeezenet.compression.squeeze.ranges import shared_scales, wide_values
from squeezenet.fixed_point import EIGHTHS, Scale
from squeezenet.graph import Graph, Layer
from squeezenet.integer_graph import keeps_nine_bits, takes_nine_bits

WORTH = 3.0
"""The share of what all rounding of values costs, by the share of all products that reading a value takes."""


def deepened(graph: Graph, scales: tuple[Scale, ...], curvature: Mapping[str, Curvature]) -> tuple[Scale, ...]:
    """`scales` with half the step where that is worth it."""
    # Rounding to steps of s has a variance of s^2 / 12, and the slope is of twice the cost.
    lost = {value: curvature[op.name].slope / 24 * scales[value].step ** 2
            for value, op in enumerate(graph.ops, 1) if isinstance(op, Layer) and not scales[value].wide}  # fmt: skip
    products = graph.macs()
    deep: set[int] = set()
    for group in shared_scales(graph, wide_values(graph)):
        readers = [i for i, op in enumerate(graph.ops, 1) if i not in group and not set(group).isdisjoint(op.inputs)]
        share = sum(lost.get(i, 0.0) for i in group) / max(sum(lost.values()), 1e-30)
        work = sum(products[i - 1] for i in readers) / sum(products)
        if _can_be_deep(graph, scales, group, readers) and share > WORTH * work:
            deep.update(group)
    return tuple(
        replace(scale, exponent=scale.exponent - EIGHTHS, nine_bit=True) if i in deep else scale
        for i, scale in enumerate(scales)
    )


def _can_be_deep(graph: Graph, scales: tuple[Scale, ...], group: list[int], readers: list[int]) -> bool:
    """As `squeezenet.integer_graph` asks. What nobody reads is the logits."""
    made = 0 not in group and all(
        takes_nine_bits(op) or keeps_nine_bits(op) for op in (graph.ops[i - 1] for i in group)
    )
    return (
        made
        and bool(readers)
        and scales[group[0]].zero == 0
        and all(takes_nine_bits(graph.ops[i - 1]) for i in readers)
    )
