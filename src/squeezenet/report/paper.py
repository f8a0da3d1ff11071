"""What the paper printed in its tables and figure 3, and the same recomputed from our networks.

>>> FIGURE_3["sr"][0.75].top5, round(recomputed("sr", 0.75).megabytes, 1)
(86.0, 19.4)

Printed sizes are "MB" in a loose sense; recomputed ones are 10^6 bytes of float32 parameters. A figure that was not
printed is None.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from squeezenet.explore.choices import SWEEPS
from squeezenet.explore.trial import network_costs
from squeezenet.models import Metaparameters

SIDE = 227  # what the released networks read


@dataclass(frozen=True)
class Printed:
    """ImageNet accuracies in percent and the size in the paper's MB."""

    megabytes: float | None = None
    top1: float | None = None
    top5: float | None = None


@dataclass(frozen=True)
class Recomputed:
    """Of the described network for 1,000 classes: parameters, their bytes as float32 in 10^6, MACs at 227 x 227."""

    parameters: int
    megabytes: float
    macs: int


FIGURE_3: Mapping[str, Mapping[Any, Printed]] = {
    "sr": {
        0.125: Printed(4.8, top5=80.3),
        0.25: Printed(),
        0.5: Printed(13, top5=85.3),
        0.75: Printed(19, top5=86.0),
        1.0: Printed(),  # "increasing SR further to 1.0 further increases model size without improving accuracy"
    },
    "pct3x3": {
        0.01: Printed(5.7, top5=76.3),
        0.125: Printed(),
        0.25: Printed(),
        0.5: Printed(13, top5=85.3),  # 85.6 in the text
        0.75: Printed(),
        0.99: Printed(21),  # "further increasing the percentage leads to a larger model size but no improvement"
    },
}
"""(a) squeeze ratio at 50% of 3x3 filters; (b) share of 3x3 filters at a squeeze ratio of 0.5."""

TABLE_3: Mapping[str, Printed] = {
    "none": Printed(4.8, 57.5, 80.3),
    "simple": Printed(4.8, 60.4, 82.5),
    "complex": Printed(7.7, 58.8, 82.0),
}


def printed(field: str) -> Mapping[Any, Printed]:
    """What the paper printed of a sweep over `field`, by value; nothing where it has no such sweep."""
    return TABLE_3 if field == "bypass" else FIGURE_3.get(field, {})


def recomputed(field: str, value: Any) -> Recomputed:
    """The paper's network with `field` at `value`."""
    network = Metaparameters(**{**SWEEPS[field].fixed, field: value})
    known = network_costs(network, SIDE)
    return Recomputed(known.parameters, 4e-6 * known.parameters, known.macs)


@dataclass(frozen=True)
class Layer:
    """A row of table 1 as printed: side of its output, parameters before and after pruning, kept share of each part."""

    name: str
    side: int
    parameters: int
    after: int
    kept: Mapping[str, float]


def _fire(name: str, side: int, parameters: int, after: int, s1x1: float, e1x1: float, e3x3: float) -> Layer:
    return Layer(name, side, parameters, after, {"squeeze1x1": s1x1, "expand1x1": e1x1, "expand3x3": e3x3})


TABLE_1 = (
    Layer("conv1", 111, 14_208, 14_208, {"": 1.0}),
    _fire("fire2", 55, 11_920, 5_746, 1, 1, 0.33),
    _fire("fire3", 55, 12_432, 6_258, 1, 1, 0.33),
    _fire("fire4", 55, 45_344, 20_646, 1, 1, 0.33),
    _fire("fire5", 27, 49_440, 24_742, 1, 1, 0.33),
    _fire("fire6", 27, 104_880, 44_700, 1, 0.5, 0.33),
    _fire("fire7", 27, 111_024, 46_236, 0.5, 1, 0.33),
    _fire("fire8", 27, 188_992, 77_581, 1, 0.5, 0.3),
    _fire("fire9", 13, 197_184, 77_581, 0.5, 1, 0.3),
    Layer("conv10", 13, 513_000, 103_400, {"": 0.2}),
)


@dataclass(frozen=True)
class TableRow:
    """A row of table 2 as printed; `bits` of an index in convolutions and in fully connected layers."""

    network: str
    method: str
    data_type: str
    megabytes: float
    ratio: int
    top1: float
    top5: float
    bits: tuple[int, int] | None = None


TABLE_2 = (
    TableRow("AlexNet", "none", "32 bit", 240, 1, 57.2, 80.3),
    TableRow("AlexNet", "SVD", "32 bit", 48, 5, 56.0, 79.4),
    TableRow("AlexNet", "pruning", "32 bit", 27, 9, 57.2, 80.3),
    TableRow("AlexNet", "Deep Compression", "5-8 bit", 6.9, 35, 57.2, 80.3, (8, 5)),
    TableRow("SqueezeNet", "none", "32 bit", 4.8, 50, 57.5, 80.3),
    TableRow("SqueezeNet", "Deep Compression", "8 bit", 0.66, 363, 57.5, 80.3, (8, 8)),
    TableRow("SqueezeNet", "Deep Compression", "6 bit", 0.47, 510, 57.5, 80.3, (6, 6)),
)
