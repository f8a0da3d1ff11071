"""The file as a whole: header, graph, text, weights (docs/FORMAT.md).

>>> decode(encode(model)).parameters == model.parameters    # doctest: +SKIP
True
"""

import contextlib
import struct
from binascii import crc32
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from squeezenet import errors
from squeezenet.files import write_atomically
from squeezenet.fixed_point import Scale
from squeezenet.graph import Activation, Graph, Layer
from squeezenet.integer_graph import check_scales
from squeezenet.limits import MAX_MODEL_FILE
from squeezenet.model import AnyWeights, Model, Outputs, Weights, check_integers
from squeezenet.sqz import costs, floats, graphs, integers, tensors, text
from squeezenet.sqz.cursor import Cursor, put_varint
from squeezenet.sqz.light import named, read_bytes, strings

MAGIC = b"\x89SQZ"
VERSION = 2  # that is written; versions from 1 on are read
INTEGER, LABELS = 1, 2  # flags: an integer network; each of several outputs is a label of its own
_HEADER = struct.Struct("<4sBBHIIII")  # magic, version, flags, reserved, length, crc32, graph bytes, text bytes


@dataclass(frozen=True)
class Section:
    """A part of a file; `name` is "header", "graph", "text", "scales", "tables" (all of them) or a layer's name."""

    name: str
    bytes: int


def write(model: Model, path: str | Path) -> int:
    """Write `model` to `path`; after an error `path` is unchanged. Returns the number of bytes written."""
    data = encode(model)
    write_atomically(Path(path), data)
    return len(data)


def read(path: str | Path) -> Model:
    """Read a file. Raises a subclass of `FormatError` for each kind of damage; `ModelError` if it cannot be read."""
    return examine(path)[0]


def examine(path: str | Path) -> tuple[Model, list[Section]]:
    """The model in a file, and its sections. Their sizes add up to the size of the file. Raises as `read` does."""
    data = read_bytes(path)
    with named(path):
        return _decode(data)


def encode(model: Model) -> bytes:
    """The file's bytes: the same model always gives the same bytes, on every machine."""
    body, graph_bytes, text_bytes = _front(model)
    tables = iter(model.tables)
    for op in model.graph.ops:
        if isinstance(op, Activation) and model.scales:
            integers.put_table(body, next(tables))
        if not isinstance(op, Layer):
            continue
        weights = model.weights[op.name]
        if isinstance(weights, Weights):
            tensors.put_weight(body, weights.weight)
            body += floats.shortest(weights.bias)
        else:
            integers.put_layer(body, weights)
    total = _HEADER.size + len(body)
    if total < (least := costs.least_bytes(model.graph, model.preparation.resize)):
        raise errors.EmptyModel(
            f"{costs.weight_count(model.graph):,} weights would be {total:,} bytes; the format asks for {least:,}, "
            "and a network this empty is not one to ship"
        )
    if total > MAX_MODEL_FILE:
        raise errors.ModelError(f"the file would be larger than {MAX_MODEL_FILE >> 20} MiB")
    costs.check_limits(model.graph, model.preparation.resize, total)
    tail = struct.pack("<II", graph_bytes, text_bytes) + body
    flags = INTEGER if model.scales else 0
    flags |= LABELS if model.outputs == "labels" and model.graph.classes > 1 else 0
    return _HEADER.pack(MAGIC, VERSION, flags, 0, total, _checksum(flags, tail), graph_bytes, text_bytes) + bytes(body)


def front_size(model: Model) -> int:
    """Bytes of a file without its weights: header, graph, text, scales and tables."""
    return _HEADER.size + len(_front(model)[0]) + sum(map(integers.table_size, model.tables))


def decode(data: bytes) -> Model:
    """The model in a file's bytes. Raises as `read` does."""
    model, _ = _decode(data)
    return model


def sections(path: str | Path) -> list[Section]:
    """The sections of a file. Their sizes add up to the size of the file."""
    return examine(path)[1]


def _decode(data: bytes) -> tuple[Model, list[Section]]:
    """Read and check everything in the same order as the C engine, so that both report the same damage."""
    body, version, flags, graph_bytes, text_bytes = _open(data)
    graph, preparation = graphs.unpack(Cursor(body.take(graph_bytes), "graph"))
    costs.check_limits(graph, preparation.resize, len(data))
    packed_text = Cursor(body.take(text_bytes), "text")
    scales: tuple[Scale, ...] = ()
    if flags & INTEGER:
        body.what = "scales"
        scales = integers.take_scales(body, graph)
        check_scales(graph, scales)
    scales_bytes, table_bytes, shapes = body.at - graph_bytes - text_bytes, 0, graph.weight_shapes()
    weights: list[AnyWeights] = []
    sizes: list[int] = []
    tables: list[bytes] = []
    for index, op in enumerate(graph.ops):
        start = body.at
        if isinstance(op, Activation) and scales:
            body.what = f"table {len(tables) + 1}"
            tables.append(integers.take_table(body))
            table_bytes += body.at - start
        if not isinstance(op, Layer):
            continue
        body.what = op.name
        if flags & INTEGER:
            held: AnyWeights = integers.take_layer(body, shapes[op.name])
            with _as_damage():
                check_integers(op.name, held, scales[op.inputs[0]], scales[index + 1])
        else:
            weight = tensors.take_weight(body, shapes[op.name])
            held = Weights(weight, floats.take(body, op.out))
        weights.append(held)
        sizes.append(body.at - start)
    body.what = "weights"
    body.finish()
    graph, labels, provenance = _read_text(packed_text, graph, version)
    found = [Section("header", _HEADER.size), Section("graph", graph_bytes), Section("text", text_bytes)]
    found += [Section("scales", scales_bytes)] if scales else []
    found += [Section("tables", table_bytes)] if tables else []
    names = [op.name for op in graph.layers]
    found += [Section(name, size) for name, size in zip(names, sizes, strict=True)]
    held_by_name = dict(zip(names, weights, strict=True))
    outputs: Outputs = "labels" if flags & LABELS else "classes"
    with _as_damage():
        return Model(graph, held_by_name, preparation, labels, provenance, scales, tuple(tables), outputs), found


@contextlib.contextmanager
def _as_damage() -> Iterator[None]:
    """Turn an error about an impossible model into a `BadStream`: the model comes from a damaged file."""
    try:
        yield
    except errors.FormatError:
        raise
    except errors.ModelError as error:
        raise errors.BadStream(str(error)) from None


def _front(model: Model) -> tuple[bytearray, int, int]:
    """The bytes of graph, text and scales in the file; and the sizes of graph and text."""
    graph = graphs.pack(model.graph, model.preparation)
    strings = text.pack(_text(model))
    # Check that a reader accepts both sections, before anything is written.
    graphs.unpack(Cursor(graph, "graph"))
    _read_text(Cursor(strings, "text"), model.graph, VERSION)
    front = bytearray(graph + strings)
    if model.scales:
        integers.put_scales(front, model.graph, model.scales)
    return front, len(graph), len(strings)


def _open(data: bytes) -> tuple[Cursor, int, int, int, int]:
    """Check the header. Returns a cursor at the byte after it, version, flags, and the sizes of graph and text."""
    if data[: len(MAGIC)] != MAGIC[: len(data)] or not data:
        raise errors.NotSqz("not a .sqz file: it does not begin with the magic bytes")
    if len(data) < _HEADER.size:
        raise errors.Truncated("the file ends inside its header; fetch it again")
    _, version, flags, reserved, total, checksum, graph_bytes, text_bytes = _HEADER.unpack_from(data)
    if not 1 <= version <= VERSION or flags & ~(INTEGER | LABELS) or reserved:
        raise errors.UnsupportedVersion(
            f"version {version}, flags {flags}; this reader knows versions 1 to {VERSION}: upgrade squeezenet"
        )
    if len(data) < total:
        raise errors.Truncated(f"the file has {len(data)} of its {total} bytes; fetch it again")
    if len(data) > total:
        raise errors.TrailingBytes(f"the file has {len(data) - total} bytes after its end")
    if _checksum(flags, memoryview(data)[16:]) != checksum:
        raise errors.ChecksumMismatch("the file's bytes are not those that were written; fetch it again")
    body = Cursor(memoryview(data)[_HEADER.size :], "file")
    if graph_bytes + text_bytes > body.left:
        raise errors.Truncated("graph and text are longer than the file")
    return body, version, flags, graph_bytes, text_bytes


def _checksum(flags: int, tail: bytes | memoryview) -> int:
    """The CRC-32 in the header; `tail` begins at offset 16. A change of the flag `LABELS` gives another checksum."""
    return crc32(tail, crc32(bytes([flags])) if flags & LABELS else 0)


def _text(model: Model) -> bytes:
    """Layer names, labels, and provenance as key and value in turn; every string ends with a zero byte."""
    out = bytearray()
    put_varint(out, len(model.labels))
    put_varint(out, len(model.provenance))
    names = [op.name for op in model.graph.layers]
    pairs = [string for item in sorted(model.provenance.items()) for string in item]
    for string in [*names, *model.labels, *pairs]:
        try:
            out += string.encode() + b"\0"
        except UnicodeEncodeError:
            raise errors.ModelError(f"the name {string!r} is not Unicode text") from None
        if "\0" in string:
            raise errors.ModelError(f"the name {string!r} holds a zero byte")
    return bytes(out)


def _read_text(cursor: Cursor, graph: Graph, version: int) -> tuple[Graph, tuple[str, ...], dict[str, str]]:
    unpacked = text.unpack(cursor, version)
    cursor.finish()
    names, labels, provenance = strings(unpacked, len(graph.layers), graph.classes)
    return graph.renamed(names), labels, provenance
