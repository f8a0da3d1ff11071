"""A model that can be shipped: graph, weights, preparation of images, labels, and provenance.

    >>> from squeezenet import sqz
    >>> model = sqz.read("model.sqz")                             # doctest: +SKIP
    >>> model.parameters, round(model.density, 2)                 # doctest: +SKIP
    (1248424, 0.34)

A weight has the form in which the file stores it: `Plain` floats, `Shared` indices into a codebook, or, in an integer
network, levels on a `Grid`. Nothing here needs PyTorch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from squeezenet.errors import ModelError
from squeezenet.fixed_point import BIAS_BITS, MAX_RESCALING, MIN_RESCALING, Scale, step
from squeezenet.graph import Activation, Graph, Layer, Shape
from squeezenet.integer_graph import check_scales
from squeezenet.preparation import Preparation
from squeezenet.scalar_functions import TABLE, table

FloatArray = NDArray[np.float32]
IndexArray = NDArray[np.uint16]
LevelArray = NDArray[np.int16]
BiasArray = NDArray[np.int32]

Outputs = Literal["classes", "labels"]
"""What the logits mean. "classes": exactly one class is right, with probabilities by softmax. "labels": each output is
a yes or no that does not depend on the others, with a probability by sigmoid."""

Range = tuple[float, float]
"""The smallest and the largest number of a value."""

MAX_LEVEL = 127
"""The largest level of an integer network; levels fit a signed byte."""

MAX_BIAS = 1 << 22


@dataclass(frozen=True, eq=False)
class Plain:
    """float32 values as they are; zeros are pruned weights."""

    data: FloatArray

    @property
    def shape(self) -> Shape:
        return self.data.shape

    @property
    def nonzero(self) -> int:
        """Weights that are not zero."""
        return int(np.count_nonzero(self.data))

    @property
    def bits(self) -> int:
        """Bits per weight without entropy coding."""
        return 32

    def values(self) -> FloatArray:
        return self.data


@dataclass(frozen=True, eq=False)
class Shared:
    """Weight sharing (Deep Compression, section 3): index 0 is a pruned weight, index i is `codebook[i - 1]`."""

    indices: IndexArray
    codebook: FloatArray

    def __post_init__(self) -> None:
        if self.indices.size and int(self.indices.max()) > self.codebook.size:
            raise ModelError("a weight's index points past the end of its codebook")

    @property
    def shape(self) -> Shape:
        return self.indices.shape

    @property
    def nonzero(self) -> int:
        return int(np.count_nonzero(self.indices))

    @property
    def bits(self) -> int:
        """Bits per index without entropy coding, as in the Deep Compression paper."""
        return max(1, int(self.codebook.size - 1).bit_length())

    def values(self) -> FloatArray:
        """float32 weights from the codebook."""
        return np.concatenate([np.zeros(1, np.float32), self.codebook])[self.indices]


@dataclass(frozen=True, eq=False)
class Grid:
    """Levels on a uniform grid: weight [o, ...] is `levels[o, ...] * 2 ** (exponents[o] / 8)`; level 0 is pruned."""

    levels: LevelArray
    exponents: LevelArray  # (out,)

    @property
    def shape(self) -> Shape:
        return self.levels.shape

    @property
    def nonzero(self) -> int:
        return int(np.count_nonzero(self.levels))

    @property
    def bits(self) -> int:
        """Bits per level without entropy coding."""
        return (2 * _largest(self.levels)).bit_length()

    def values(self) -> FloatArray:
        steps = np.array([step(int(e)) for e in self.exponents], np.float32)
        return self.levels * steps.reshape(-1, *[1] * (self.levels.ndim - 1))


Tensor = Plain | Shared | Grid


@dataclass(frozen=True, eq=False)
class Weights:
    """The weight and the biases of one layer of a float network."""

    weight: Tensor
    bias: FloatArray


@dataclass(frozen=True, eq=False)
class IntegerWeights:
    """The weight and the biases of one layer of an integer network; a bias is in sixteenths of the output step."""

    weight: Grid
    bias: BiasArray


AnyWeights = Weights | IntegerWeights


def check_integers(name: str, held: AnyWeights, source: Scale, target: Scale) -> None:
    """Raise `ModelError` unless `held` can be a layer between values of the scales `source` and `target`."""
    if not isinstance(held, IntegerWeights) or _largest(held.weight.levels) > MAX_LEVEL:
        raise ModelError(f"{name}: an integer network has levels of -{MAX_LEVEL} to {MAX_LEVEL}")
    weight = held.weight
    rescalings = target.exponent - source.exponent - weight.exponents.astype(np.int64)
    if (
        weight.exponents.shape != held.bias.shape
        or rescalings.min() < MIN_RESCALING
        or rescalings.max() > MAX_RESCALING
    ):
        raise ModelError(f"{name}: the scales of input, weight and output are too far apart")
    if held.bias.dtype != np.int32 or _largest(held.bias) >= MAX_BIAS:
        raise ModelError(f"{name}: the biases of an integer network are whole numbers below 2 ** 22")
    most = int(np.abs(weight.levels).reshape(held.bias.size, -1).sum(1, dtype=np.int64).max())
    if source.span * most >= 1 << 31:
        raise ModelError(f"{name}: a sum could need more than 32 bits")


def _largest(levels: LevelArray | BiasArray) -> int:
    """The largest magnitude, computed without a copy."""
    return max(int(levels.max(initial=0)), -int(levels.min(initial=0)))


@dataclass(frozen=True, eq=False)
class Model:
    """A network ready to be shipped. Raises `ModelError` if weights, labels or preparation do not fit the graph.

    It is an integer network if it has `scales`, one for each value of the graph (docs/FORMAT.md). It then has a table
    for each `Activation`, in the order of the graph; without `tables`, they are computed from the scales. With one
    output, `outputs` is always "labels": the network says how probable the positive one of two classes is.

    `ranges` has the smallest and the largest number of some values, by number, if another program has measured them on
    its images. No file stores them; `compress` uses them where it has no images.
    """

    graph: Graph
    weights: Mapping[str, AnyWeights]
    preparation: Preparation
    labels: tuple[str, ...] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)
    scales: tuple[Scale, ...] = ()
    tables: tuple[bytes, ...] = ()
    outputs: Outputs = "classes"
    ranges: Mapping[int, Range] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.graph.classes == 1:
            object.__setattr__(self, "outputs", "labels")
        shapes = self.graph.weight_shapes()
        if set(shapes) != set(self.weights):
            missing = sorted(set(shapes) ^ set(self.weights))
            raise ModelError(f"weights and graph name different layers: {', '.join(missing[:5])}")
        for name, shape in shapes.items():
            held = self.weights[name]
            if held.weight.shape != shape or held.bias.shape != shape[:1]:
                raise ModelError(f"{name}: the graph wants a weight of {shape}, not {held.weight.shape}")
        if self.preparation.shape != self.graph.input_shape:
            raise ModelError(
                f"images are prepared to {self.preparation.shape}, but the network reads {self.graph.input_shape}"
            )
        if self.labels and len(self.labels) != self.graph.classes:
            raise ModelError(f"{len(self.labels)} labels for {self.graph.classes} outputs")
        if self.scales:
            check_scales(self.graph, self.scales)
            self._complete_tables()
            for index, op in enumerate(self.graph.ops):
                if isinstance(op, Layer):
                    check_integers(op.name, self.weights[op.name], self.scales[op.inputs[0]], self.scales[index + 1])
        elif any(isinstance(held.weight, Grid) for held in self.weights.values()):
            raise ModelError("weights on a grid belong to an integer network, which needs scales of its values")

    def _complete_tables(self) -> None:
        functions = [(op, value) for value, op in enumerate(self.graph.ops, 1) if isinstance(op, Activation)]
        if not self.tables:
            scales = self.scales
            made = tuple(table(op, scales[op.inputs[0]], scales[value]) for op, value in functions)
            object.__setattr__(self, "tables", made)
        if [len(each) for each in self.tables] != [TABLE] * len(functions):
            raise ModelError(f"{len(self.tables)} tables for {len(functions)} scalar functions")

    def dequantised(self) -> "Model":
        """The same network as a float network: float32 weights and biases, and values that are not rounded."""
        if not self.scales:
            return self
        weights = {}
        for index, op in enumerate(self.graph.ops):
            if isinstance(op, Layer):
                held, unit = self.weights[op.name], self.scales[index + 1].step / (1 << BIAS_BITS)
                weights[op.name] = Weights(Plain(held.weight.values()), held.bias.astype(np.float32) * np.float32(unit))
        return replace(self, weights=weights, scales=(), tables=())

    @property
    def parameters(self) -> int:
        """Weights and biases, pruned ones included."""
        return sum(int(np.prod(w.weight.shape)) + w.bias.size for w in self.weights.values())

    @property
    def nonzero(self) -> int:
        """Weights that were not pruned, and all biases: what the paper's table 1 counts after pruning."""
        return sum(w.weight.nonzero + w.bias.size for w in self.weights.values())

    @property
    def density(self) -> float:
        """The share of the weights that are not pruned, biases not counted."""
        return sum(w.weight.nonzero for w in self.weights.values()) / self.weight_count

    @property
    def weight_count(self) -> int:
        """Weights without biases."""
        return sum(int(np.prod(w.weight.shape)) for w in self.weights.values())

    @property
    def float32_bytes(self) -> int:
        """Bytes of all parameters as float32: the numerator of every compression ratio."""
        return 4 * self.parameters

    def label(self, index: int) -> str:
        """The name of class `index`, or its number where the model has no labels."""
        return self.labels[index] if self.labels else str(index)
