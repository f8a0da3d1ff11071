"""Writes the nodes and constants of one ONNX graph, with names that every program can read.

>>> nodes = Nodes()
>>> nodes.scope = nodes.scope_of(1, "features/0 ⚡")
>>> nodes("Relu", nodes.given("image", np.float32, (3, 8, 8))).name
'1_features_0__.Relu'

`scope` is the name of the operation whose nodes follow. It begins with the number of the operation, so that two layers
never share a name. In the rest, the layer's own name, `_` replaces all characters but letters, digits and `_.-`.
"""

import re
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from squeezenet.graph import Shape

OTHER = re.compile(r"[^A-Za-z0-9_.-]")
MOST_OF_A_NAME = 100
"""Characters of a layer's name that are kept."""

DOMAINS = {"Quant": "qonnx.custom_op.general"}
"""The domains of operators that are not ONNX's own."""

BATCH = "N"
"""The name of the first dimension of the images and of the logits."""


class Nodes:
    """The nodes of a graph in the order they run, and its constants. Calling it appends a node.

    `numbers` is the type of whole numbers that need more than 32 bits.
    """

    def __init__(self, numbers: type[np.int64 | np.float64] = np.int64) -> None:
        self.numbers = numbers
        self.nodes: list[ir.Node] = []
        self.constants: dict[tuple[object, ...], ir.Value] = {}
        self.scope = ""
        self._uses: dict[str, int] = {}

    @staticmethod
    def scope_of(number: int, name: str) -> str:
        """The name for the nodes of operation `number`, made from the layer's own name."""
        return f"{number}_{OTHER.sub('_', name)[:MOST_OF_A_NAME]}"

    def given(self, name: str, dtype: Any, shape: Shape) -> ir.Value:
        """An input or output of the graph, one for each image of the batch."""
        type_ = ir.TensorType(ir.DataType.from_numpy(np.dtype(dtype)))
        return ir.Value(name=name, shape=ir.Shape([BATCH, *shape]), type=type_)

    def __call__(self, kind: str, *inputs: ir.Value, **attributes: Any) -> ir.Value:
        """Append a node with one result, and return this result."""
        node = ir.node(kind, inputs, attributes, domain=DOMAINS.get(kind, ""), name=self._name(kind))
        node.outputs[0].name = node.name
        self.nodes.append(node)
        return node.outputs[0]

    def pieces(self, x: ir.Value, sizes: NDArray[np.int64]) -> list[ir.Value]:
        """Append a node that cuts `x` into so many channels each."""
        name = self._name("Split")
        inputs = (x, self.constant("sizes", sizes.astype(np.int64)))
        node = ir.node("Split", inputs, {"axis": 1}, num_outputs=len(sizes), name=name)
        for index, output in enumerate(node.outputs):
            output.name = f"{name}.{index}"
        self.nodes.append(node)
        return list(node.outputs)

    def constant(self, name: str, array: NDArray[Any] | np.generic) -> ir.Value:
        """A constant. Equal constants are stored once, under the name of the first."""
        array = np.asarray(array)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self.constants:
            tensor = ir.tensor(array, name=self._name(name))
            self.constants[key] = ir.Value(
                name=tensor.name, shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor
            )
        return self.constants[key]

    def _name(self, what: str) -> str:
        name = f"{self.scope}.{what}" if self.scope else what
        uses = self._uses[name] = self._uses.get(name, 0) + 1
        return name if uses == 1 else f"{name}_{uses}"
