"""The description of the network in our `.pth` and `.safetensors` files, beside their float32 tensors.

    >>> restore(json.loads(describe(model)), float_arrays(model))       # doctest: +SKIP

The description is JSON: graph and preparation as in a `.sqz` file, names of the layers, labels, provenance; for an
integer network the scales of its values and the exponents of its weights; for shared weights their codebooks. With
these, the floats become the same levels or indices again, so nothing is lost (docs/adr/0020).
"""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any, get_args

import numpy as np

from squeezenet.errors import ModelError, SqueezeNetError
from squeezenet.fixed_point import BIAS_BITS, MAX_RESCALING, Scale, step
from squeezenet.graph import Graph, Layer
from squeezenet.integer_graph import MAX_EXPONENT
from squeezenet.model import MAX_LEVEL, FloatArray, Grid, IntegerWeights, Model, Outputs, Plain, Shared, Tensor, Weights
from squeezenet.sqz import floats, graphs, integers
from squeezenet.sqz.cursor import Cursor
from squeezenet.sqz.tensors import MAX_CODEBOOK

Arrays = Mapping[str, FloatArray]
"""Tensors by name: `LAYER.weight` and `LAYER.bias` of each layer."""

KEY = "squeezenet"
"""The name of the description in a file."""

DAMAGE = (
    SqueezeNetError, KeyError, TypeError, ValueError, AttributeError, RuntimeError, RecursionError, OverflowError
)  # fmt: skip
"""The exceptions that reading an invalid description can raise."""

_FARTHEST = 2 * MAX_EXPONENT + MAX_RESCALING  # the largest exponent that a weight between two scales can have


def describe(model: Model) -> str:
    """Everything about a model except its floats, as JSON."""
    about: dict[str, Any] = {
        "graph": _text(graphs.pack(model.graph, model.preparation)),
        "layers": [op.name for op in model.graph.layers],
        "labels": model.labels,
        "provenance": dict(model.provenance),
    }
    if model.outputs != "classes":
        about["outputs"] = model.outputs
    if model.scales:
        packed = bytearray()
        integers.put_scales(packed, model.graph, model.scales)
        about["scales"] = _text(packed)
    codes = {name: _code(held.weight) for name, held in model.weights.items() if not isinstance(held.weight, Plain)}
    if codes:
        about["codes"] = codes
    return json.dumps(about)


def is_described(header: bytes) -> bool:
    """Whether the header of a file (JSON or a pickle) has our description, or that of a run folder."""
    plain = header.replace(b"\\", b"")  # as JSON writes JSON
    return KEY.encode() in plain and (b'{"graph": "' in plain or b'{"architecture": {' in plain)


def float_arrays(model: Model) -> dict[str, FloatArray]:
    """The weights and biases of a model as float32 tensors, by name."""
    arrays: dict[str, FloatArray] = {}
    for name, held in model.dequantised().weights.items():
        arrays[f"{name}.weight"], arrays[f"{name}.bias"] = held.weight.values(), np.asarray(held.bias, np.float32)
    return arrays


def restore(about: Mapping[str, Any], arrays: Arrays) -> Model:
    """The model that `describe` described, with the same logits; `about` is the parsed JSON.

    Raises one of `DAMAGE` if the description is impossible or does not fit the tensors.
    """
    graph, preparation = graphs.unpack(Cursor(_bytes(about["graph"]), "graph"))
    names = list(about["layers"])
    if len(names) != len(graph.layers):
        raise ModelError(f"{len(names)} names for {len(graph.layers)} layers")
    graph = graph.renamed(names)
    scales: tuple[Scale, ...] = ()
    if "scales" in about:
        cursor = Cursor(_bytes(about["scales"]), "scales")
        scales = integers.take_scales(cursor, graph)
        cursor.finish()
    codes = about.get("codes", {})
    floats = {n: Weights(_coded(arrays[f"{n}.weight"], codes.get(n)), arrays[f"{n}.bias"]) for n in names}
    weights = _integers(graph, floats, scales) if scales else floats
    labels, provenance = tuple(map(str, about["labels"])), {str(k): str(v) for k, v in about["provenance"].items()}
    outputs = about.get("outputs", "classes")
    if outputs not in get_args(Outputs):
        raise ModelError(f"outputs that mean {str(outputs)[:20]!r}")
    model = Model(graph, weights, preparation, labels, provenance, scales, outputs=outputs)
    again = float_arrays(model)
    if again.keys() != arrays.keys() or not all(np.array_equal(again[name], arrays[name]) for name in again):
        raise ModelError("the weights were changed after they were described")
    return model


def line(error: BaseException) -> str:
    """The message of an error, shortened to one line."""
    return " ".join(str(error).split())[:100] or type(error).__name__


def _code(weight: Tensor) -> dict[str, Any]:
    """The part of the description that turns the floats of a weight into its form again."""
    if isinstance(weight, Grid):
        return {"exponents": weight.exponents.tolist()}
    assert isinstance(weight, Shared)
    return {"codebook": _text(weight.codebook.astype("<f4").tobytes())}


def _coded(values: FloatArray, code: Mapping[str, Any] | None) -> Tensor:
    if code is None:
        return Plain(values)
    if "exponents" in code:
        exponents = np.array(code["exponents"], np.int16)
        if exponents.shape != values.shape[:1] or np.abs(exponents).max(initial=0) > _FARTHEST:
            raise ModelError("exponents that no weight can have")
        steps = np.array([step(int(e)) for e in exponents], np.float32).reshape(-1, *[1] * (values.ndim - 1))
        with np.errstate(all="ignore"):  # invalid numbers are found by the comparison afterwards
            levels = np.nan_to_num(np.rint(np.clip(values / steps, -MAX_LEVEL, MAX_LEVEL)))
        return Grid(levels.astype(np.int16), exponents)
    codebook = np.frombuffer(_bytes(code["codebook"]), "<f4").astype(np.float32)
    if codebook.size > MAX_CODEBOOK:
        raise ModelError(f"a codebook of {codebook.size:,} centroids; the limit is {MAX_CODEBOOK:,}")
    return _shared(values, codebook)


def _shared(values: FloatArray, codebook: FloatArray) -> Shared:
    """Indices of `values` in `codebook`. Other values become 0, which the comparison afterwards finds."""
    keys, number = np.unique(floats.keys(codebook), return_index=True)
    flat = floats.keys(np.ascontiguousarray(values).ravel())
    found = np.searchsorted(keys, flat)
    inside = np.minimum(found, max(keys.size - 1, 0))
    known = keys[inside] == flat if keys.size else np.zeros(flat.size, bool)
    known &= values.ravel().view(np.uint32) != 0  # a plain zero is a pruned weight
    indices = np.where(known, number[inside] + 1 if keys.size else 0, 0)
    return Shared(indices.astype(np.uint16).reshape(values.shape), codebook)


def _integers(graph: Graph, floats: dict[str, Weights], scales: tuple[Scale, ...]) -> dict[str, IntegerWeights]:
    """The layers of an integer network, from their levels and float biases."""
    weights = {}
    for value, op in enumerate(graph.ops, 1):
        if isinstance(op, Layer):
            grid, unit = floats[op.name].weight, np.float32(scales[value].step / (1 << BIAS_BITS))
            if not isinstance(grid, Grid):
                raise ModelError(f"{op.name}: an integer network has levels")
            with np.errstate(all="ignore"):
                weights[op.name] = IntegerWeights(grid, np.rint(floats[op.name].bias / unit).astype(np.int32))
    return weights


def _text(data: bytes | bytearray) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ModelError(str(error)) from None
