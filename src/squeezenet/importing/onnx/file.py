"""Opens an ONNX file: everything that it declares is checked before it is used.

>>> open_model(Path("mobilenet.onnx")).opset                           # doctest: +SKIP
17
"""

import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from squeezenet.errors import MissingDependency, ModelError, UnsupportedOperation
from squeezenet.files import read_regular
from squeezenet.importing.onnx.wire import count_parts
from squeezenet.limits import MAX_MODEL_FILE, MAX_ONNX_NODES
from squeezenet.printable import printable

OLDEST = 7
"""The first version of ONNX's operators that broadcasts as NumPy does."""


@dataclass(frozen=True, eq=False)
class Opened:
    """A file: its message, the same as a model of `onnx_ir`, the version of its operators, and its size in bytes.

    The size includes the external data.
    """

    proto: Any
    model: Any
    opset: int
    held: int


def open_model(path: Path) -> Opened:
    """An ONNX file.

    Raises `ModelError`, `UnsupportedOperation`, `MissingDependency`, or `OSError` that names the file.
    """
    try:
        import onnx
        import onnx_ir as ir
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise MissingDependency(f"{path}: reading ONNX needs {error.name}; pip install 'sqznet[onnx]'") from None
    data = read_regular(path, MAX_MODEL_FILE)
    count_parts(data)
    try:
        proto = onnx.ModelProto.FromString(data)
        graphs = [proto.graph, *proto.functions]
        if sum(len(graph.node) for graph in graphs) > MAX_ONNX_NODES:
            raise ModelError(f"more than {MAX_ONNX_NODES:,} nodes")
        if proto.functions:
            raise UnsupportedOperation(
                f"has functions of its own ({printable(proto.functions[0].name)[:80]}); "
                "inline them first: onnx.inliner.inline_local_functions"
            )
        version = _version(proto, onnx.defs.onnx_opset_version())
        held = len(data) + _check_external(proto, path)
        model = ir.from_proto(proto)
    except (DecodeError, ValueError, TypeError, KeyError, RecursionError) as error:
        first = (str(error).splitlines() or [""])[0]
        raise ModelError(f"damaged ({printable(first)[:200]})") from None
    ir.external_data.set_base_dir(model.graph, path.parent)
    return Opened(proto, model, version, held)


def _version(proto: Any, newest: int) -> int:
    """The version of the operators of ONNX itself."""
    found = [entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")]
    version: int = found[0] if found else 1
    if not OLDEST <= version <= newest:
        hint = "onnx.version_converter can raise it" if version < OLDEST else "a newer package onnx may know it"
        raise ModelError(f"opset {version}; {OLDEST} to {newest} can be read ({hint})")
    return version


def _check_external(proto: Any, path: Path) -> int:
    """Bytes of the weights in other files. Raises `ModelError` if such a file is outside of the folder of `path`."""
    tensors = [*proto.graph.initializer, *(a.t for node in proto.graph.node for a in node.attribute if a.HasField("t"))]
    total = 0
    folder = path.parent.resolve()
    for tensor in tensors:
        if tensor.data_location != 1:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        name, location = printable(tensor.name)[:80], entries.get("location", "")
        target = (folder / location).resolve()
        if not location or not target.is_relative_to(folder):
            raise ModelError(f"the weight {name} lies in {printable(location)[:200]!r}, outside of the model's folder")
        try:
            state = target.stat()
        except OSError as error:
            raise ModelError(f"the weight {name} lies in {printable(location)[:200]}: {error.strerror}") from None
        offset, length = int(entries.get("offset") or 0), int(entries.get("length") or 0)
        if not stat.S_ISREG(state.st_mode) or min(offset, length) < 0 or offset + length > state.st_size:
            raise ModelError(f"the weight {name} is not in {printable(location)[:200]}, which is too short or no file")
        total += length or state.st_size - offset
    if total > MAX_MODEL_FILE:
        raise ModelError(f"{total:,} bytes of external data; the limit is {MAX_MODEL_FILE:,}")
    return total
