"""A model that can be shipped: graph, weights, how to prepare an image, labels, and where it came from.

    >>> from squeezenet import sqz
    >>> model = sqz.read("model.sqz")                             # doctest: +SKIP
    >>> model.parameters, round(model.density, 2)                 # doctest: +SKIP
    (1248424, 0.34)

A weight is held as it is coded: `Plain` floats, or `Shared` indices into a codebook. Nothing here needs PyTorch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from squeezenet.errors import ModelError
from squeezenet.graph import Graph, Shape
from squeezenet.preparation import Preparation

FloatArray = NDArray[np.float32]
IndexArray = NDArray[np.uint16]


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
        """Bits a weight would take without entropy coding."""
        return 32

    def values(self) -> FloatArray:
        """float32 weights."""
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
        """Weights that were not pruned."""
        return int(np.count_nonzero(self.indices))

    @property
    def bits(self) -> int:
        """Bits of an index without entropy coding, as the papers count them."""
        return max(1, int(self.codebook.size - 1).bit_length())

    def values(self) -> FloatArray:
        """float32 weights, looked up."""
        return np.concatenate([np.zeros(1, np.float32), self.codebook])[self.indices]


Tensor = Plain | Shared


@dataclass(frozen=True, eq=False)
class Weights:
    """What one layer owns."""

    weight: Tensor
    bias: FloatArray


@dataclass(frozen=True, eq=False)
class Model:
    """A network ready to be shipped. Raises `ModelError` if weights, labels or preparation do not fit the graph."""

    graph: Graph
    weights: Mapping[str, Weights]
    preparation: Preparation
    labels: tuple[str, ...] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
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
        """Kept fraction of the weights, biases left out."""
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
