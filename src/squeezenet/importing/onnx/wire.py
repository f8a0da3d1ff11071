"""Counts what is in an ONNX file before the protobuf library reads it.

    >>> count_parts(bytes([8, 10]))                      # ModelProto.ir_version = 10
    1

The library makes an object of every message and every string. A file that has only empty nodes, two bytes each, would
take a hundred times its size in memory. So this module visits the fields of the file in the order of the bytes, and
enters the messages inside other messages (https://protobuf.dev/programming-guides/encoding/).
"""

from squeezenet.errors import ModelError
from squeezenet.limits import MAX_ONNX_DEPTH, MAX_ONNX_OPAQUE, MAX_ONNX_PARTS

_INSIDE: dict[str, dict[int, str]] = {
    "model": {7: "graph", 8: "leaf", 14: "leaf", 20: "opaque", 25: "function", 26: "opaque"},
    "graph": {1: "node", 5: "tensor", 11: "value", 12: "value", 13: "value", 14: "note", 15: "opaque", 16: "leaf"},
    "function": {7: "node", 9: "leaf", 11: "attribute", 12: "value", 14: "leaf"},
    "node": {5: "attribute", 9: "leaf", 10: "opaque"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 14: "opaque", 15: "opaque", 22: "opaque",
                  23: "opaque"},
    "tensor": {3: "leaf", 13: "leaf", 16: "leaf"},
    "value": {2: "type", 4: "leaf"},
    "type": {1: "array", 4: "opaque", 5: "opaque", 7: "opaque", 8: "opaque", 9: "opaque"},
    "array": {2: "shape"},
    "shape": {1: "leaf"},
    "note": {2: "leaf"},
    "leaf": {},
}  # fmt: skip
"""For each kind of message of onnx.proto, the fields that are messages. Opaque ones are for networks of other kinds."""

DAMAGED = "cut off, or no ONNX file"


def count_parts(data: bytes) -> int:
    """How many fields the file has, over all messages. Raises `ModelError` for a file that is damaged or over a limit.

    The numbers of a packed list are one field.
    """
    view = memoryview(data)
    parts = opaque = at = 0
    kind, end = "model", len(data)
    above: list[tuple[str, int]] = []
    try:
        while True:
            while at < end:
                key, at = _varint(view, at)
                wire = key & 7
                parts += 1
                if parts > MAX_ONNX_PARTS or opaque > MAX_ONNX_OPAQUE:
                    raise ModelError(f"more than {MAX_ONNX_PARTS:,} fields, or no classifier of images")
                if wire == 0:
                    _, at = _varint(view, at)
                elif wire == 2:
                    length, at = _varint(view, at)
                    inner = _INSIDE[kind].get(key >> 3)
                    if inner == "opaque":
                        opaque += length
                    elif inner is not None:
                        above.append((kind, end))
                        if at + length > end or len(above) > MAX_ONNX_DEPTH:
                            raise ModelError(DAMAGED if at + length > end else "messages that are too deep in others")
                        kind, end = inner, at + length
                        continue
                    at += length
                elif wire in (1, 5):
                    at += 8 if wire == 1 else 4
                else:
                    raise ModelError(DAMAGED)
            if at != end:
                raise ModelError(DAMAGED)
            if not above:
                return parts
            kind, end = above.pop()
    except IndexError:
        raise ModelError(DAMAGED) from None


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    """A number of variable length, and where it ends."""
    value = view[at]
    at += 1
    if value < 128:
        return value, at
    value &= 127
    for shift in range(7, 70, 7):
        byte = view[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ModelError(DAMAGED)
