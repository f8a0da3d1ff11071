"""Python's reader and the engine's take the same files, and give what is wrong with all others the same name."""

import random
import struct
from collections import Counter
from collections.abc import Callable

import pytest

from squeezenet import sqz as product
from squeezenet import zoo
from squeezenet.errors import (
    BadGraph,
    BadStream,
    ChecksumMismatch,
    FormatError,
    LimitExceeded,
    NotSqz,
    Truncated,
    UnsupportedVersion,
)
from squeezenet.runtime.engine import PATHS, EngineRunner
from support import ROOT
from support.damage import BOMBS, DAMAGE, repaired
from support.engine_networks import FILES
from support.hostile import (
    ADD,
    CONCAT,
    CONV,
    FLATTEN,
    GLOBAL,
    ZEROS,
    conv,
    floats,
    image,
    oblong,
    op,
    operations,
    sqz,
    text,
    varint,
)

pytestmark = pytest.mark.skipif(not PATHS, reason="the C engine was not built here")

GOLDEN = [path.read_bytes() for path in sorted((ROOT / "tests" / "golden").glob("*.sqz"))]
SHIPPED = [zoo.find(name).read_bytes() for name in ("digits", "cifar10-small")]


def outcome(read: Callable[[bytes], object], data: bytes) -> str:
    try:
        read(data)
    except FormatError as error:
        return type(error).__name__
    return "read"


def agreed(data: bytes) -> str:
    """What both readers make of it: "read", or the name of the error."""
    found = outcome(product.decode, data), outcome(EngineRunner, data)
    assert found[0] == found[1], f"Python: {found[0]}; engine: {found[1]}; file: {data.hex()[:4000]}"
    return found[0]


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Some bytes changed, inserted, removed or moved; most often in the first part, which says how all else is read."""
    out = bytearray(data)
    graph, strings = struct.unpack("<II", data[16:24])
    for _ in range(chance.choice([1, 1, 1, 2, 4])):
        end = chance.choice([24 + graph, 24 + graph + strings, len(out), min(len(out), 24 + graph + strings + 40)])
        at = chance.randrange(16, min(end, len(out)))
        kind = chance.randrange(6)
        if kind == 0:
            out[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            out[at] = chance.choice([0, 1, 2, 127, 128, 254, 255, chance.randrange(256)])
        elif kind == 2:
            out[at:at] = chance.randbytes(chance.randrange(1, 4))
        elif kind == 3 and len(out) > 40:
            del out[at : at + chance.randrange(1, 4)]
        elif kind == 4:
            out[at : at + 4] = chance.choice([b"\xff" * 4, bytes(4), struct.pack("<f", 1e-40), b"\x80\x80\x80\x01"])
        else:
            other = chance.randrange(24, len(out))
            out[at : at + 8] = out[other : other + 8]
    if chance.random() < 0.7:  # the sections as long as what was done to them
        delta = len(out) - len(data)
        out[16:20] = struct.pack("<I", max(0, graph + (delta if chance.random() < 0.5 else 0)))
        out[20:24] = struct.pack("<I", max(0, strings + (delta if chance.random() < 0.5 else 0)))
    return repaired(out) if chance.random() < 0.97 else bytes(out)


@pytest.mark.parametrize("start", range(len(GOLDEN) + len(FILES)))
def test_mutated_files(start: int) -> None:
    base, chance = [*GOLDEN, *FILES][start], random.Random(start)
    assert agreed(base) == "read"
    seen = Counter(agreed(mutated(base, chance)) for _ in range(150))
    assert len(seen) > 3, seen


@pytest.mark.parametrize("data", [*GOLDEN, *FILES])
def test_a_file_that_claims_to_be_of_another_version(data: bytes) -> None:
    for version in (1, 2):
        agreed(data[:4] + bytes([version]) + data[5:])


@pytest.mark.parametrize("data", SHIPPED, ids=["digits", "cifar10-small"])
def test_mutated_files_that_ship(data: bytes) -> None:
    chance = random.Random(1)
    assert agreed(data) == "read"
    assert len({agreed(mutated(data, chance)) for _ in range(40)}) > 3


@pytest.mark.parametrize("name", [*DAMAGE, *BOMBS])
def test_each_damage(name: str) -> None:
    assert agreed({**DAMAGE, **BOMBS}[name][0]) != "read"


@pytest.mark.parametrize("data", GOLDEN)
def test_damage_behind_the_checksum(data: bytes) -> None:
    """Whatever byte was damaged, what is said is that bytes were damaged."""
    header = {4: UnsupportedVersion, 5: UnsupportedVersion, 6: UnsupportedVersion, 7: UnsupportedVersion}
    for at in range(len(data)):
        damaged = data[:at] + bytes([data[at] ^ 0x81]) + data[at + 1 :]
        expected = NotSqz if at < 4 else header.get(at, ChecksumMismatch)
        if 8 <= at < 12:
            assert agreed(damaged) in ("Truncated", "TrailingBytes")
        else:
            assert agreed(damaged) == expected.__name__, at


def test_every_start_of_a_file() -> None:
    for data in GOLDEN:
        for length in range(len(data)):
            assert agreed(data[:length]) == ("NotSqz" if length == 0 else "Truncated")


TINY = image(4) + operations(conv(2), conv(2), op(GLOBAL), op(FLATTEN))
NAMES = text(["a", "b"])
AFTER = operations(conv(2), conv(2), op(GLOBAL), op(FLATTEN))
CASES: dict[str, tuple[bytes, type[FormatError]]] = {
    "a square with a width": (sqz(oblong((4, 4), (3, 3)) + AFTER, NAMES, ZEROS * 2), BadGraph),
    "a crop that is wider": (sqz(oblong((4, 5), (4, 6)) + AFTER, NAMES, ZEROS * 2), BadGraph),
    "a crop that is higher": (sqz(oblong((4, 5), (5, 5)) + AFTER, NAMES, ZEROS * 2), BadGraph),
    "a crop without a width": (sqz(oblong((4, 5), (4, 0)) + AFTER, NAMES, ZEROS * 2), BadGraph),
    "a width over the limit": (sqz(oblong((4, 8193), (4, 5)) + AFTER, NAMES, ZEROS * 2), BadStream),
    "too large a resized image": (sqz(oblong((8192, 8191), (4, 5)) + AFTER, NAMES, ZEROS * 2), LimitExceeded),
    "a fit of 4": (sqz(oblong((4, 5), (4, 5), fit=4) + AFTER, NAMES, ZEROS * 2), BadStream),
    "two layers of one name": (sqz(TINY, text(["same", "same"]), ZEROS * 2), BadGraph),
    "a name too few": (sqz(TINY, text(["a"]), ZEROS * 2), BadStream),
    "a name too many": (sqz(TINY, text(["a", "b", "c"]), ZEROS * 2), BadStream),
    "labels for other classes": (sqz(TINY, text(["a", "b", "x"], 1), ZEROS * 2), BadStream),
    "weights and text are damaged": (sqz(TINY, text(["a"]), ZEROS), Truncated),
    "reads itself, and ends early": (sqz(image(4) + varint(1) + bytes([CONV, 0, 1]), text([])), BadGraph),
    "joins nothing, and ends early": (sqz(image(4) + varint(2) + bytes([CONCAT, 0]), text([])), BadGraph),
    "no operations, and goes on": (sqz(image(4) + varint(0) + b"\0", text([])), BadGraph),
    "too many operations": (sqz(image(4) + varint(4097), text([])), LimitExceeded),
    "a deviation of 0, then no number": (
        sqz(varint(4, 4, 0, 0) + floats(0, 0, 0, 0, float("nan"), 1), text([])),
        BadStream,
    ),
    "a scale that does not fit, and no more": (
        sqz(image(4) + operations(op(ADD, 1), op(FLATTEN)), text([]), varint(0, 0), integer=True),
        Truncated,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_cases(name: str) -> None:
    data, error = CASES[name]
    assert agreed(data) == error.__name__


def test_memory_counts_height_and_width() -> None:
    """134 MB for pixels; a square of the longer side would be over the limit."""
    for resize in ((8192, 4096), (4096, 8192)):
        assert agreed(sqz(oblong(resize, (4, 5)) + AFTER, NAMES, ZEROS * 2)) == "read"
