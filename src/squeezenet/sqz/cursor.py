"""Reading and writing of bytes, variable-length integers (varints) and float32.

>>> out = bytearray(); put_varint(out, 300); Cursor(bytes(out)).varint()
300
"""

import struct

from squeezenet.errors import BadStream, ModelError, TrailingBytes, Truncated

MAX_VARINT = 2**31 - 1


class Cursor:
    """Reads a buffer from the start to the end. Raises `Truncated`, `BadStream`, `TrailingBytes`."""

    def __init__(self, data: bytes | memoryview, what: str = "section") -> None:
        self.data = memoryview(data)
        self.at = 0
        self.what = what

    @property
    def left(self) -> int:
        """Bytes not yet read."""
        return len(self.data) - self.at

    def take(self, count: int) -> memoryview:
        """The next `count` bytes."""
        if count > self.left:
            raise Truncated(f"{self.what}: {count} bytes wanted, {self.left} left; the file was cut short")
        self.at += count
        return self.data[self.at - count : self.at]

    def byte(self) -> int:
        return self.take(1)[0]

    def varint(self, limit: int = MAX_VARINT) -> int:
        """The next varint: little-endian base 128, at most five bytes, and its last byte is not an unnecessary zero."""
        value = 0
        for shift in range(0, 35, 7):
            byte = self.byte()
            value |= (byte & 127) << shift
            if byte < 128:
                if (byte == 0 and shift) or value > limit:
                    raise BadStream(f"{self.what}: a number is over its limit of {limit} or not in its shortest form")
                return value
        raise BadStream(f"{self.what}: a number has more than five bytes")

    def float32(self) -> float:
        """The next float32, as the shortest decimal number that rounds to it: 78.03, not 78.02999877929688."""
        raw = bytes(self.take(4))
        (value,) = struct.unpack("<f", raw)
        if value != value or value in (float("inf"), float("-inf")):
            raise BadStream(f"{self.what}: a number is not finite")
        for digits in range(6, 10):  # nine are always enough
            short = float(f"{value:.{digits}g}")
            if struct.pack("<f", short) == raw:
                return short
        return float(value)

    def finish(self) -> None:
        """Raise `TrailingBytes` unless everything was read."""
        if self.left:
            raise TrailingBytes(f"{self.what}: {self.left} bytes after its end")


def put_varint(out: bytearray, value: int) -> None:
    """Append `value` as a varint, which `Cursor.varint` reads."""
    if not 0 <= value <= MAX_VARINT:
        raise ModelError(f"{value} is not a 31-bit number; the file cannot hold it")
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)


def fold(number: int) -> int:
    """A number of either sign for `put_varint`: 0, -1, 1, -2, ... become 0, 1, 2, 3, ..."""
    return 2 * number if number >= 0 else -2 * number - 1


def unfold(folded: int) -> int:
    """The number that `fold` was given."""
    return folded // 2 if folded % 2 == 0 else -(folded // 2) - 1


def put_float32(out: bytearray, value: float) -> None:
    """Append `value` as a float32, which `Cursor.float32` reads."""
    try:
        out += struct.pack("<f", value)
    except OverflowError:
        raise ModelError(f"{value} is over the range of float32") from None
