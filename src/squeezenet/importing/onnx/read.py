"""An ONNX file -> a graph and its weights.

    >>> found = read_onnx(Path("mobilenet.onnx"))                      # doctest: +SKIP
    >>> found.graph.input_shape, found.ending                          # doctest: +SKIP
    ((3, 224, 224), 'softmax')

The nodes are visited once. A node whose inputs are all constants is computed. A node that only moves elements changes
the order in which a value is read. All other nodes are translated into operations of a draft (`importing.builder`),
which the rewrites of `importing.rewrites` simplify.
"""

from collections import Counter
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from squeezenet.errors import BadGraph, LimitExceeded, ModelError, UnsupportedOperation
from squeezenet.graph import Graph, Shape, Sides
from squeezenet.importing.builder import Builder, Value
from squeezenet.importing.draft import Arrays, Draft
from squeezenet.importing.onnx.call import Argument, Array, Call, label
from squeezenet.importing.onnx.file import Opened, open_model
from squeezenet.importing.onnx.norms import Norm, written_norm
from squeezenet.importing.rewrites import rewrite
from squeezenet.importing.scalars import Scalar
from squeezenet.limits import FOLDED_A_BYTE, FREE_FOLDED, MAX_LIVE, MAX_ONNX_RESULTS, MAX_WEIGHTS
from squeezenet.model import Range
from squeezenet.printable import printable
from squeezenet.sqz import costs

MOST_KEPT = 1 << 20
"""Elements of a tensor in another order than its value, beyond which it is not compared with the file."""

CONTROL = ("If", "Loop", "Scan", "SequenceMap")


@dataclass(frozen=True)
class Seen:
    """A tensor of the ONNX network, and where its elements are: `Value.number` is a value of the draft."""

    tensor: str
    node: str
    value: Value


@dataclass(frozen=True)
class OnnxNetwork:
    """A network from an ONNX file.

    `shape` is that of the ONNX input, with the batch; `image` says where its elements are in the graph's input.
    `ending` is what the graph leaves out after the logits: "", "softmax" or "sigmoid". `seen` maps values of the graph
    to tensors. `held` counts the bytes of the file, with its external data and with the constants that nodes fill.
    `proto` is the message in the file. `rounded` has the outputs of its quantisers: the operator that took their place,
    or the constant. `pads` has the padding that the file leaves to a rule. `ranges` has the range in which a quantiser
    of the file keeps a value, by the number of the value.
    """

    graph: Graph
    weights: Arrays
    ending: str
    seen: dict[int, Seen]
    metadata: dict[str, str]
    held: int
    image: Value
    batch: int
    input: Any
    proto: Any
    rounded: dict[str, str | Array]
    pads: dict[str, Sides]
    ranges: dict[int, Range]


def read_onnx(path: Path, shape: Shape | None = None) -> OnnxNetwork:
    """The network in an ONNX file. `shape` (channels, height, width) is used where the file leaves it open.

    Raises `ModelError` (also `UnsupportedOperation` and `LimitExceeded`), or `OSError` that names the file.
    """
    try:
        return _Reader(open_model(path), shape).network()
    except ModelError as error:
        raise type(error)(f"{path}: {error}") from None


class _Reader:
    def __init__(self, opened: Opened, shape: Shape | None) -> None:
        self.proto, self.model, self.opset, self.held = opened.proto, opened.model, opened.opset, opened.held
        self.norms: dict[Any, Norm] = {}
        self.output = self._output()
        self.nodes = self._needed()
        self.input = self._input()
        self.builder, image = self._start(shape)
        self.image = image
        self.values: dict[Any, Argument] = {self.input: image}
        self.known: dict[Scalar, Value] = {}
        self.folded = FREE_FOLDED + FOLDED_A_BYTE * self.held
        self.filled = MAX_WEIGHTS
        self.results = MAX_ONNX_RESULTS
        self.made: list[tuple[Any, str, Argument]] = []
        self.rounded: dict[str, str | Array] = {}
        self.pads: dict[str, Sides] = {}
        self.ranges: list[tuple[Argument, Range]] = []
        self.uses = Counter(value for node in self.nodes for value in self._inputs(node))

    def network(self) -> OnnxNetwork:
        for node in self.nodes:
            self.builder.origin = label(node)
            try:
                self._visit(node)
                self._forget(node)
            except (UnsupportedOperation, LimitExceeded) as error:
                raise type(error)(f"{label(node)}: {error}") from None
            except (BadGraph, ValueError, TypeError, IndexError, ArithmeticError, KeyError) as error:
                raise UnsupportedOperation(f"{label(node)}: {printable(str(error).splitlines()[0])[:200]}") from None
        logits = self._resolved(self.output)
        if isinstance(logits, Scalar):
            logits = self._settle(logits)
        if not isinstance(logits, Value):
            raise UnsupportedOperation("the output does not depend on the image")
        if logits.shape[0] == self.builder.batch and len(logits.shape) == 4 and logits.shape[2:] == (1, 1):
            logits = self.builder.reshape(logits, logits.shape[:2])
        self.builder.finish(logits)
        draft = self.builder.draft
        ending = rewrite(draft)
        graph = draft.graph()
        costs.check_limits(graph, 1, self.held)  # before the weights take memory
        weights = draft.arrays()
        for name, (weight, bias) in weights.items():
            if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
                raise UnsupportedOperation(f"{name}: a weight is not a finite number")
        places = {value.number: seen for value, seen in self._seen()}
        seen = {
            index: places[meant]
            for index, number in enumerate((0, *draft.ops))
            if (meant := draft.meanings.get(number, number)) in places
        }
        return OnnxNetwork(graph, weights, ending, seen, dict(self.model.metadata_props), self.held, self.image,
                           self.builder.batch, self.input, self.proto, self.rounded,
                           self.pads, self._ranges(draft))  # fmt: skip

    def _seen(self) -> list[tuple[Value, Seen]]:
        """The tensors that became values of the draft, the first of each value."""
        found: dict[int, tuple[Value, Seen]] = {}
        for tensor, node, argument in self.made:
            value = self.known.get(argument) if isinstance(argument, Scalar) else argument
            if isinstance(value, Value) and prod(value.shape) == self.builder.batch * prod(self.builder.base(value)):
                found.setdefault(value.number, (value, Seen(tensor.name, node, value)))
        return list(found.values())

    def _ranges(self, draft: Draft) -> dict[int, Range]:
        """The ranges that quantisers give to values of the graph, by the value's number in the graph."""
        found: dict[int, Range] = {}
        for argument, ends in self.ranges:
            value = self.known.get(argument) if isinstance(argument, Scalar) else argument
            if isinstance(value, Value):
                found.setdefault(value.number, ends)
        numbers = ((index, draft.meanings.get(number, number)) for index, number in enumerate((0, *draft.ops)))
        return {index: found[meant] for index, meant in numbers if meant in found}

    def _output(self) -> Any:
        outputs = self.model.graph.outputs
        if len(outputs) != 1:
            names = ", ".join(printable(str(value.name))[:60] for value in outputs[:8])
            raise UnsupportedOperation(f"has {len(outputs)} outputs ({names}); only one can be read, the logits")
        return outputs[0]

    def _needed(self) -> list[Any]:
        """The nodes on which the output depends, in the order of the file. Raises `ModelError` if they form a cycle."""
        wanted, needed = {self.output}, []
        for node in reversed(list(self.model.graph)):
            if any(output in wanted for output in node.outputs):
                needed.append(node)
                if (norm := written_norm(node)) is not None:
                    self.norms[node] = norm
                wanted.update(value for value in self._inputs(node) if value is not None)
        needed.reverse()
        ready = {*self.model.graph.inputs, *self.model.graph.initializers.values()}
        for node in needed:
            _refuse_unknown(node)
            for value in self._inputs(node):
                if value is not None and value not in ready:
                    name = printable(str(value.name))[:80]
                    raise ModelError(f"{label(node)} reads {name!r}, which is computed later or nowhere")
            ready.update(node.outputs)
        return needed

    def _inputs(self, node: Any) -> list[Any]:
        """The values that are needed to translate a node."""
        return self.norms[node].inputs if node in self.norms else list(node.inputs)

    def _input(self) -> Any:
        """The image: the only input that is read and has no value in the file."""
        held = set(self.model.graph.initializers)
        read = {value for node in self.nodes for value in self._inputs(node)}
        inputs = [value for value in self.model.graph.inputs if value.name not in held and value in read]
        if len(inputs) != 1:
            names = ", ".join(printable(str(value.name))[:60] for value in inputs[:8])
            raise UnsupportedOperation(f"has {len(inputs)} inputs ({names}); only one can be read, the image")
        return inputs[0]

    def _start(self, given: Shape | None) -> tuple[Builder, Value]:
        """A builder for the declared image, and the image in the layout of the file."""
        name, declared = printable(str(self.input.name))[:80], self.input.shape
        sizes = [] if declared is None else [n if isinstance(n, int) and n > 0 else 0 for n in declared]
        if len(sizes) != 4:
            raise UnsupportedOperation(f"the input {name} has {len(sizes)} axes; an image has four, (N, C, H, W)")
        last = sizes[3] in (1, 3) and not {1, 3} & {sizes[1], sizes[2]}
        shape = (sizes[3], sizes[1], sizes[2]) if last else (sizes[1], sizes[2], sizes[3])
        if given is not None:
            shape = (shape[0] or given[0], shape[1] or given[1], shape[2] or given[2])
        if 0 in shape:
            wanted = "height and width of images; say them with --resize (and --crop), or export with fixed sizes"
            raise ModelError(f"the input {name} leaves open the {wanted}")
        batch = sizes[0] or 1
        if batch * prod(shape) > MAX_LIVE:
            raise LimitExceeded(f"an input of {batch * prod(shape):,} elements; the limit is {MAX_LIVE:,}")
        builder = Builder(shape, batch)
        image = builder.image
        if last:
            image = builder.view(image, np.ascontiguousarray(builder.order(image).transpose(0, 2, 3, 1)))
        return builder, image

    def _resolved(self, value: Any) -> Argument | None:
        """The constant, value or expression that a value of the ONNX graph became."""
        if value is None:
            return None
        if value not in self.values:
            self.values[value] = value.const_value.numpy()
        found = self.values[value]
        return self.known.get(found, found) if isinstance(found, Scalar) else found

    def _keep(self, output: Any, node: Any, result: Argument) -> None:
        """Remember which value a tensor became, for the comparison with the file."""
        order = result.order if isinstance(result, Value) else None
        if order is None or order.size <= MOST_KEPT:
            self.made.append((output, label(node), result))

    def _forget(self, node: Any) -> None:
        """Free the values that no further node reads."""
        for value in self._inputs(node):
            self.uses[value] -= 1
            if self.uses[value] == 0 and value is not self.output:
                self.values.pop(value, None)

    def _settle(self, expression: Scalar) -> Value:
        from squeezenet.importing.onnx.elementwise import settled

        return settled(self.builder, expression, self.known)

    def _normalise(self, node: Any) -> None:
        """Translate the last node of a layer normalisation that is written out."""
        from squeezenet.importing.onnx.operators import normalised

        norm = self.norms[node]
        mean = Call(
            norm.mean, self.opset, tuple(map(self._resolved, norm.mean.inputs)), self.builder, self._settle, self.pads
        )
        epsilon = self._resolved(norm.epsilon)
        x = mean.value()
        axes = mean.axes(1, len(x.shape))
        if not isinstance(epsilon, np.ndarray) or epsilon.size != 1 or axes is None:
            raise UnsupportedOperation("a normalisation that depends on more than the image")
        self.values[node.outputs[0]] = result = normalised(mean, x, axes, float(epsilon.item()))
        self.results -= _elements(result)
        self._keep(node.outputs[0], node, result)

    def _visit(self, node: Any) -> None:
        from squeezenet.importing.onnx.constants import FOLDED, elements_of
        from squeezenet.importing.onnx.operators import OPERATORS, quantised_range

        kind = node.op_type
        if node in self.norms:
            self._normalise(node)
            return
        arguments = tuple(self._resolved(value) for value in node.inputs)
        call = Call(node, self.opset, arguments, self.builder, self._settle, self.pads)
        constant = all(argument is None or isinstance(argument, np.ndarray) for argument in arguments)
        if constant and kind in FOLDED:
            self.folded -= elements_of(call)
            if self.folded < 0:
                raise LimitExceeded("the file computes more constants than a file of its size may")
            found = FOLDED[kind](call)
            found = [np.asarray(each) for each in found] if isinstance(found, list) else np.asarray(found)
            size = 0 if isinstance(found, list) else found.size
            if kind == "ConstantOfShape":
                self.held += 4 * size
                self.filled -= size
        elif kind in OPERATORS and not constant:
            found = OPERATORS[kind](call)
        else:
            raise UnsupportedOperation("of constants cannot be computed" if constant else "must have constant inputs")
        results = found if isinstance(found, list) else [found]
        if kind in ("QuantizeLinear", "DequantizeLinear"):
            replaced = found if constant else "Identity" if found is arguments[0] else "Relu"
            self.rounded[str(node.outputs[0].name)] = replaced
            if kind == "QuantizeLinear" and not constant and (ends := quantised_range(call)) is not None:
                self.ranges.append((found, ends))
        for output, result in zip(node.outputs, results, strict=False):
            self.results -= _elements(result)
            if min(self.filled, self.results) < 0:
                raise LimitExceeded("the nodes of the network have results of too many elements")
            self.values[output] = result
            self._keep(output, node, result)
        for output in node.outputs[len(results) :]:
            if output in self.values or any(user in self.nodes for user, _ in output.uses()):
                raise UnsupportedOperation(f"its output {printable(str(output.name))[:80]!r} cannot be expressed")


def _refuse_unknown(node: Any) -> None:
    """Raise `UnsupportedOperation` for an operator that has no translation."""
    from squeezenet.importing.onnx.constants import FOLDED
    from squeezenet.importing.onnx.operators import OPERATORS

    kind = node.op_type
    if node.domain not in ("", "ai.onnx"):
        raise UnsupportedOperation(f"{label(node)}: an operator of {printable(node.domain)[:80]}, not of ONNX itself")
    if kind in CONTROL:
        raise UnsupportedOperation(f"{label(node)}: control flow cannot be expressed")
    if kind not in OPERATORS and kind not in FOLDED:
        hint = "; export the network with floats" if "Integer" in kind or kind.startswith("QLinear") else ""
        raise UnsupportedOperation(f"{label(node)}: this operator cannot be expressed{hint}")


def _elements(result: Argument) -> int:
    if isinstance(result, Scalar):
        result = result.base
    return 0 if isinstance(result, np.ndarray) else prod(result.shape)
