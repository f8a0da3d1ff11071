"""Damaged `.sqz` files, and files that ask for far more than they hold, each with the error it must give."""

import struct
from binascii import crc32
from collections.abc import Callable

import numpy as np

from squeezenet import sqz
from squeezenet.errors import (
    BadGraph,
    BadStream,
    ChecksumMismatch,
    FormatError,
    NotSqz,
    TrailingBytes,
    Truncated,
    UnsupportedVersion,
)
from squeezenet.graph import LRN, Add, Conv, Flatten, GlobalAvgPool, Graph, Linear, MaxPool, Op, ReLU
from squeezenet.limits import MAX_OPERATIONS
from squeezenet.model import Model, Plain, Shared, Weights
from squeezenet.preparation import Preparation
from squeezenet.sqz import graphs, text
from squeezenet.sqz.cursor import put_varint
from squeezenet.sqz.levels import put_levels


def small() -> Model:
    indices = np.array([[1, 0, 0, 2], [0, 0, 0, 2]], np.uint16).repeat(2, 0)
    graph = Graph(
        (1, 4, 4),
        (
            Conv((0,), "a", 4, (2, 2), (2, 2)),
            ReLU((1,)),
            GlobalAvgPool((2,)),
            Flatten((3,)),
            Linear((4,), "b", 2),
        ),
    )
    held = {
        "a": Weights(Shared(indices.reshape(4, 1, 2, 2), np.array([-1, 0.5], np.float32)), np.zeros(4, np.float32)),
        "b": Weights(Plain(np.array([[0, 0, 0, 1], [0, 0, 3, 0]], np.float32)), np.ones(2, np.float32)),
    }
    return Model(graph, held, Preparation(5, 4, "shorter", "L", (1,), (2,)), ("yes", "no"), {"k": "v"})


SMALL = sqz.encode(small())


def repaired(data: bytes | bytearray) -> bytes:
    """`data` with the length and checksum that its bytes should have."""
    tail = bytes(data[16:])
    before = crc32(data[5:6]) if data[5] & 2 else 0
    return bytes(data[:8]) + struct.pack("<II", len(data), crc32(tail, before)) + tail


def assemble(graph: bytes, strings: bytes = b"", weights: bytes = b"", integer: bool = False) -> bytes:
    lengths = struct.pack("<II", len(graph), len(strings))
    return repaired(b"\x89SQZ" + bytes([2, integer]) + bytes(10) + lengths + graph + strings + weights)


PREPARATION = Preparation(5, 4, "shorter", "L", (1,), (2,))
GRAPH = graphs.pack(small().graph, PREPARATION)
NAMES = b"\2\1a\0b\0yes\0no\0k\0v\0"
BODY = SMALL[24 + len(GRAPH) + len(text.pack(NAMES)) :]


def with_text(raw: bytes) -> bytes:
    return assemble(GRAPH, text.pack(raw), BODY)


def text_of_length(length: int) -> bytes:
    """A text section that declares this length, in 7 bytes."""
    section = bytearray()
    put_varint(section, length)
    return bytes(section) + bytes(4)


def with_op(*op: int) -> bytes:
    """A graph of one operation on an image of 1 x 4 x 4, whose bytes are given."""
    return assemble(GRAPH[: GRAPH.index(b"\5\1\1")] + b"\1" + bytes(op))


def with_conv_weight(weight: bytes) -> bytes:
    return assemble(GRAPH, text.pack(NAMES), weight + b"\xaa" + BODY[-20:])


def with_layer(*streams: list[int]) -> bytes:
    """An integer network whose only layer has a weight (2, 1, 1, 1) and these level streams."""
    graph = Graph((1, 4, 4), (Conv((0,), "a", 2, (1, 1)), GlobalAvgPool((1,)), Flatten((2,))))
    scales = bytes([0, 100, 0, 0, 0])  # of the image; of the convolution; the mean is not wide
    layer = b"".join(map(levels_of, streams))
    return assemble(graphs.pack(graph, PREPARATION), text.pack(b"\0\0a\0"), scales + layer, integer=True)


def levels_of(numbers: list[int] | np.ndarray) -> bytes:
    out = bytearray()
    put_levels(out, np.array(numbers))
    return bytes(out)


def patched(at: int, value: bytes) -> bytes:
    return SMALL[:at] + value + SMALL[at + len(value) :]


DAMAGE: dict[str, tuple[bytes, type[FormatError]]] = {
    "nothing": (b"", NotSqz),
    "another file": (b"\x89PNG\r\n\x1a\n" + bytes(50), NotSqz),
    "version 0": (patched(4, b"\0"), UnsupportedVersion),
    "version 3": (patched(4, b"\3"), UnsupportedVersion),
    "a flag": (patched(5, b"\4"), UnsupportedVersion),
    "a reserved bit": (patched(7, b"\x80"), UnsupportedVersion),
    "half a header": (SMALL[:20], Truncated),
    "cut short": (SMALL[:-1], Truncated),
    "longer": (SMALL + b"\0", TrailingBytes),
    "another byte": (SMALL[:-1] + bytes([SMALL[-1] ^ 1]), ChecksumMismatch),
    "sections longer than the file": (repaired(patched(16, struct.pack("<I", 1 << 31))), Truncated),
    "graph cut short": (assemble(GRAPH[:-1], text.pack(NAMES), BODY), Truncated),
    "graph goes on": (assemble(GRAPH + b"\0", text.pack(NAMES), BODY), TrailingBytes),
    "weights cut short": (repaired(SMALL[:-1]), Truncated),
    "weights go on": (repaired(SMALL + b"\0"), TrailingBytes),
    "unknown operation": (with_op(99, 1), BadGraph),
    "operation 0": (with_op(0, 1), BadGraph),
    "reads itself": (with_op(12, 0), BadGraph),
    "reads before the image": (with_op(12, 2), BadStream),
    "joins nothing": (with_op(10, 0), BadGraph),
    "negative cap": (with_op(4, 1, *struct.pack("<f", -1)), BadGraph),
    "cap not a number": (with_op(4, 1, *struct.pack("<f", np.nan)), BadStream),
    "no logits": (with_op(3, 1), BadGraph),
    "unknown channels": (assemble(b"\5\4\1\3" + GRAPH[4:]), BadStream),
    "a crop of nothing": (assemble(b"\5\0" + GRAPH[2:]), BadGraph),
    "a crop larger than the image": (assemble(b"\3\4" + GRAPH[2:]), BadGraph),
    "text goes on": (assemble(GRAPH, text.pack(NAMES) + b"\0", BODY), BadStream),
    "text cut short": (assemble(GRAPH, text.pack(NAMES)[:-1], BODY), BadStream),
    "text without a stream": (assemble(GRAPH, text.pack(NAMES)[:1], BODY), BadStream),
    "text over its limit": (assemble(GRAPH, text_of_length(2**16 + 64 * 7 + 1), BODY), BadStream),
    "text not UTF-8": (with_text(NAMES.replace(b"a", b"\xff")), BadStream),
    "a label too few": (with_text(NAMES.replace(b"no\0", b"")), BadStream),
    "text without an end": (with_text(NAMES[:-1]), BadStream),
    "labels for other classes": (with_text(b"\3" + NAMES[1:] + b"\0"), BadStream),
    "two layers of one name": (with_text(NAMES.replace(b"b", b"a")), BadGraph),
    "keys out of order": (with_text(b"\0\2a\0b\0y\0\0x\0\0"), BadStream),
    "a key twice": (with_text(b"\0\2a\0b\0x\0\0x\0\0"), BadStream),
    "unknown coding": (with_conv_weight(b"\4"), BadStream),
    "unknown plane": (with_conv_weight(b"\0\x03"), BadStream),
    "not a number": (with_conv_weight(b"\0\xa0" + b"\x7f" * 16 + b"\xc0" * 16), BadStream),
    "more weights than places": (with_conv_weight(b"\1\x11\x07\0"), BadStream),
    "gaps of no length": (with_conv_weight(b"\1\1\0\1"), BadStream),
    "ends with a filler": (with_conv_weight(b"\1\0\1\1\2\1\x28"), BadStream),
    "index past the codebook": (with_conv_weight(b"\2\0\xaa\2\1\x48"), BadStream),
    "adaptive alone": (with_conv_weight(b"\4\0\xaa\0"), BadStream),
    "adaptive and sparse": (with_conv_weight(b"\7\0\xaa\0"), BadStream),
    "a level past the codebook": (with_conv_weight(b"\6\0\xaa" + levels_of(np.full((4, 1, 2, 2), 1))), BadStream),
    "a level below the codebook": (with_conv_weight(b"\6\1\xaa" + levels_of(np.full((4, 1, 2, 2), -1))), BadStream),
    "no gap": (with_conv_weight(b"\6\1\xfe" + levels_of([-31])), BadStream),
    "a gap too long": (with_conv_weight(b"\6\1\xfe" + levels_of([2])), BadStream),
    "numbers past the largest": (with_conv_weight(b"\6\2\xfe" + levels_of([1, 0]) + b"\xff" * 8), BadStream),
    "gaps to no number": (with_conv_weight(b"\6\1\xfe" + levels_of([1]) + b"\xff" * 4), BadStream),
    "an exponent too large": (with_conv_weight(b"\6\1\xff\xff" + levels_of([1]) + bytes(3)), BadStream),
    "an exponent too small": (with_conv_weight(b"\6\1\xff\3" + levels_of([5]) + bytes(3)), BadStream),
    "no exponent": (with_conv_weight(b"\6\1\xff\3" + levels_of([0]) + bytes(3)), BadStream),
    "padding after fractions": (with_conv_weight(b"\6\1\xff\3" + levels_of([1]) + b"\0\0\1"), BadStream),
    "codebook over the limit": (with_conv_weight(b"\2\x81\x20"), BadStream),
    "a level over the limit": (with_layer([0, 0], [128, -1], [0, 0]), BadStream),
    "no levels": (with_layer([0, 0]), Truncated),
}


def image(size: int, *ops: Op) -> bytes:
    """A file that declares this graph, and nothing more."""
    graph = Graph((1, size, size), ops)
    return assemble(graphs.pack(graph, Preparation(size, size, "stretch", "L", (0,), (1,))), text.pack(b"\0\0"))


def chain(count: int, op: Callable[[int], Op]) -> tuple[Op, ...]:
    return (*(op(value) for value in range(count)), Flatten((count,)))


def text_of(length: int) -> bytes:
    """A text of one byte repeated, in a stream that needs no codes."""
    out = bytearray()
    put_varint(out, length)
    put_varint(out, length)
    return bytes(out) + b"\1\1\x40" + bytes(4)


BOMBS = {
    "weights": (image(64, Flatten((0,)), Linear((1,), "a", 1 << 20)), "network has more"),
    "weights for a file of this size": (image(64, Flatten((0,)), Linear((1,), "a", 1 << 14)), "cannot hold"),
    "image": (image(8192, MaxPool((0,), (9, 9), (9, 9)), Flatten((1,))), "needed at once"),
    "activation": (image(1024, *chain(1, lambda v: Conv((v,), "a", 1 << 10, (1, 1)))), "needed at once"),
    "values needed at once": (
        image(512, *(ReLU((0,)) for _ in range(300)), *(Add((300 + i, 1 + i)) for i in range(299)), Flatten((599,))),
        "needed at once",
    ),
    "padding": (image(64, MaxPool((0,), (1 << 20, 1), (1, 1), (1 << 19, 0)), Flatten((1,))), "windows"),
    "padding and stride": (image(64, Conv((0,), "a", 1, (1, 1), (1 << 30, 1), (1 << 29, 0)), Flatten((1,))), "windows"),
    "patches": (image(2048, Conv((0,), "a", 1, (33, 33), (1, 1), (16, 16)), Flatten((1,))), "windows"),
    "convolving": (image(64, *chain(300, lambda v: Conv((v,), f"{v}", 512 if v < 299 else 1, (1, 1)))), "one image"),
    "pooling": (image(200, *chain(1000, lambda v: MaxPool((v,), (65, 65), (1, 1), (32, 32)))), "one image"),
    "normalising": (
        image(64, Conv((0,), "a", 4096, (1, 1)), LRN((1,), 4096), LRN((2,), 4096), Flatten((3,))),
        "one image",
    ),
    "operations": (image(1, *chain(MAX_OPERATIONS, lambda v: ReLU((v,)))), "4,097 operations"),
}
