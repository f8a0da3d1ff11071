"""The range coder and its contexts in plain Python (docs/FORMAT.md, "Level streams"). Level streams and texts use them.

>>> writer = Writer()
>>> bits = [writer.bit(60000, 1) for _ in range(100)]
>>> stream = writer.finish(); len(stream)  # 100 bits whose probability is 60000 / 65536
2
>>> reader = Reader(stream)
>>> [reader.bit(60000, 0) for _ in range(100)] == bits
True
"""

from squeezenet.errors import BadStream

CERTAIN = 1 << 22
"""Stands for the probability 1 in a context."""
RATE = [65536 // (n + 2) for n in range(1026)]
"""How fast an average of n numbers moves, in units of 2^-16."""


class Context:
    """The probability that a bit is 1 (2^22 stands for 1), and the number of bits from which it was learned."""

    __slots__ = ("ones", "seen")

    def __init__(self, ones: int = CERTAIN // 2, seen: int = 0) -> None:
        self.ones = ones
        self.seen = seen

    @property
    def chance(self) -> int:
        """The probability for the range coder: 2^16 stands for 1."""
        return min(max(self.ones >> 6, 32), 65504)

    def learn(self, bit: int) -> None:
        rate = RATE[self.seen]
        self.ones += (CERTAIN - self.ones) * rate >> 16 if bit else -(self.ones * rate >> 16)
        self.seen = min(self.seen + 1, 1023)


class Writer:
    """The range coder: writes bits. The probability that a bit is 1 is `ones` / 65,536."""

    def __init__(self) -> None:
        self.low, self.range = 0, (1 << 32) - 1
        self.out = bytearray()

    def bit(self, ones: int, bit: int) -> int:
        step = (self.range >> 16) * ones
        if bit:
            self.range = step
        else:
            self._forward(step)
            self.range -= step
        while self.range < 1 << 24:
            self.range <<= 8
            self.out.append(self.low >> 24)
            self.low = self.low << 8 & 0xFFFFFFFF
        return bit

    def finish(self) -> bytes:
        """The written bytes. Of the last four bytes only the first is written, since the others are zero."""
        self._forward(-self.low & 0xFFFFFF)
        return bytes(self.out) + bytes([self.low >> 24])

    def _forward(self, step: int) -> None:
        self.low += step
        if self.low >> 32:
            at = len(self.out) - 1
            while self.out[at] == 255:
                self.out[at] = 0
                at -= 1
            self.out[at] += 1
            self.low &= 0xFFFFFFFF


class Reader:
    """Reads the bits that `Writer` wrote. It ignores the argument `bit`, which only a writer needs."""

    def __init__(self, data: bytes | memoryview) -> None:
        self.data, self.at = data, 0
        self.code, self.range = 0, (1 << 32) - 1
        for _ in range(4):
            self._shift()

    def bit(self, ones: int, bit: int) -> int:
        step = (self.range >> 16) * ones
        bit = int(self.code < step)
        if bit:
            self.range = step
        else:
            self.code -= step
            self.range -= step
        while self.range < 1 << 24:
            self.range <<= 8
            self._shift()
        return bit

    def finish(self) -> None:
        if self.at < len(self.data) + 3:
            raise BadStream("a stream goes on after its last symbol")

    def _shift(self) -> None:
        """Take the next byte. After the last byte follow three zeros, which are not stored."""
        if self.at >= len(self.data) + 3:
            raise BadStream("a stream ends before its last symbol")
        self.code = (self.code << 8 | (self.data[self.at] if self.at < len(self.data) else 0)) & 0xFFFFFFFF
        self.at += 1
