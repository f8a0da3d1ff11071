"""Texts of version 2 in plain Python: the model of docs/FORMAT.md, "Mixed text".

    >>> stream = encode(b"tabby cat, tiger cat")
    >>> len(stream)
    12
    >>> decode(stream, 20)
    b'tabby cat, tiger cat'

The engine writes the same bytes some hundred times faster. Six contexts predict each bit of the text, and
learned weights mix their predictions: the method of PAQ (M. Mahoney, "Adaptive weighing of context models for lossless
data compression", 2005). The model first learns the text `PRIMER`, so that words that are in many files cost little.
"""

from collections import defaultdict
from operator import add, mul

from squeezenet.sqz.range_coder import Context, Reader, Writer

PRIMER = (
    b"features.3.squeeze\0features.3.expand1x1\0features.4.expand3x3\0classifier\0license\0made by\0squeezenet 0.1.0\0"
    b'method\0squeeze\0name\0squeezenet1_0\0recipe\0method = "squeeze"\nmax_bytes = 350000\nthorough = true\n'
    b'threads = 1\ndata = "imagenet"\nimages = "0"\nobjective = "distill"\n\n[learning]\nepochs = 4.0\n'
    b"batch_size = 32\nlr = 0.001\n\n[pruning]\ndensity = 0.1\n\n[sharing]\nconv_bits = 4\nfc_bits = 4\n\n"
    b"[augmentation]\nmirror = true\narea = 1.0\npad = 1\nrotate = 0.0\nzoom = 0.0\nlight = 0.0\nerase = 0\n\0source\0"
)
"""What every text follows, without being written."""

# fmt: off
LOGISTIC = (22, 36, 60, 98, 162, 267, 439, 720, 1179, 1921, 3108, 4972, 7812, 11953, 17625, 24743, 32768, 40793, 47911,
            53583, 57724, 60564, 62428, 63615, 64357, 64816, 65097, 65269, 65374, 65438, 65476, 65500, 65514)
# fmt: on
"""2^16 / (1 + e^-x) for x = -8, -7.5, ... 8, rounded."""

_LEAST, _MOST = 3, 15  # bytes of a match when it is found; most bytes of a match that are counted
_BYTE_BITS = 15  # of the number of pairs of a byte and a node
_HASH_BITS = 17  # of the number of histories after two bytes, and after the letters of a word
_RECENT_BITS = 12  # of the number of places at which a match can begin
_WEIGHT = 1 << 13  # of every prediction at first; 2^16 stands for 1
_INPUTS = 6


def squash(x: int) -> int:
    """2^16 times the probability whose log-odds are `x` / 256."""
    i, part = divmod(x + 2048, 128)
    return LOGISTIC[i] * (128 - part) + LOGISTIC[i + 1] * part >> 7


def stretched() -> list[int]:
    """For every probability, in units of 2^-12, the largest number from -2047 on that `squash` takes at most there."""
    found, x = [], -2047
    for i in range(4096):
        while x < 2047 and squash(x + 1) <= 16 * i + 8:
            x += 1
        found.append(x)
    return found


class _Model:
    """The statistics that are learned while a text is read or written, and the position in it."""

    def __init__(self) -> None:
        self.of_history = [defaultdict[int, Context](Context) for _ in range(3)]
        self.of_node, self.of_pair, self.of_match = (defaultdict[int, Context](Context) for _ in range(3))
        self.weights = defaultdict[tuple[str, int, int], list[int]](lambda: [_WEIGHT] * _INPUTS)
        self.histories = [bytearray(b"\1") * (1 << bits) for bits in (_BYTE_BITS, _HASH_BITS, _HASH_BITS)]
        self.stretched = stretched()
        self.recent = [0] * (1 << _RECENT_BITS)
        self.text = bytearray()
        self.last = self.word = 0
        self.match = self.length = 0  # position of the byte that the match promises; length of the match, or 0
        for byte in PRIMER:
            self.byte(None, byte)

    def byte(self, coder: Writer | Reader | None, byte: int) -> int:
        """Write or read one byte, and learn from it. Without a coder, only learn."""
        promised = self.text[self.match] | 256 if self.length else 0
        node, stretched = 1, self.stretched
        for left in reversed(range(8)):
            pair = (self.last << 8 | node) & (1 << _BYTE_BITS) - 1
            places = (pair, _hashed(self.last & 0xFFFF, node), _hashed(self.word, node))
            histories = [held[place] for held, place in zip(self.histories, places, strict=True)]
            contexts = [held[history] for held, history in zip(self.of_history, histories, strict=True)]
            contexts += [self.of_node[node], self.of_pair[pair]]
            inputs = [stretched[context.ones >> 10] for context in contexts]
            matches, expected = promised >> left + 1 == node, promised >> left & 1
            promise = self.of_match[self.length]
            x = stretched[promise.ones >> 10]
            inputs.append((x if expected else -x) if matches else 0)

            known = 3 - histories.count(1)
            first = self.weights["node", node, 0]
            second = self.weights["known", known, 1 + self.length // 4 if matches else 0]
            total = sum(map(mul, map(add, first, second), inputs)) >> 16
            ones = squash(min(max(total, -2047), 2047))
            bit = byte >> left & 1
            if coder is not None:
                bit = coder.bit(min(max(ones, 32), 65504), bit)

            error = (bit << 16) - ones
            steps = [x * error + 32768 >> 16 for x in inputs]
            first[:] = map(add, first, steps)
            second[:] = map(add, second, steps)
            for context in contexts:
                context.learn(bit)
            if matches:
                promise.learn(int(bit == expected))
            for held, place in zip(self.histories, places, strict=True):
                longer = held[place] << 1 | bit
                held[place] = longer if longer < 256 else longer & 127 | 128
            node = node << 1 | bit
        self._advance(node & 255)
        return node & 255

    def _advance(self, byte: int) -> None:
        if self.length and self.text[self.match] == byte:
            self.match += 1
            self.length = min(self.length + 1, _MOST)
        else:
            self.length = 0
        self.text.append(byte)
        self.last = (self.last << 8 | byte) & 0xFFFFFFFF
        lower = byte + 32 if 65 <= byte <= 90 else byte
        letter = 97 <= lower <= 122 or lower > 127
        self.word = (self.word + lower) * 0x2F0B4C47 & 0xFFFFFFFF if letter else 0
        if len(self.text) >= _LEAST:
            self._find_match()

    def _find_match(self) -> None:
        """Find the newest earlier place with the same bytes as the end of the text so far."""
        place = ((self.last & 0xFFFFFF) * 0x9E3779B1 & 0xFFFFFFFF) >> 32 - _RECENT_BITS
        start, end = self.recent[place], len(self.text)
        if not self.length:
            length = 0
            while length < min(_MOST, start) and self.text[start - 1 - length] == self.text[end - 1 - length]:
                length += 1
            if length >= _LEAST:
                self.match, self.length = start, length
        self.recent[place] = end


def encode(text: bytes) -> bytes:
    """The stream of `text`."""
    model, writer = _Model(), Writer()
    for byte in text:
        model.byte(writer, byte)
    return writer.finish()


def decode(data: bytes | memoryview, length: int) -> bytes:
    """The text of `length` bytes in a whole stream. Raises `BadStream`."""
    model, reader = _Model(), Reader(data)
    text = bytes(model.byte(reader, 0) for _ in range(length))
    reader.finish()
    return text


def _hashed(context: int, node: int) -> int:
    """The place of a history. Two contexts may share one."""
    value = (context + 1) * 0x9E3779B1 + node * 0x85EBCA6B & 0xFFFFFFFF
    return ((value ^ value >> 16) * 0xC2B2AE35 & 0xFFFFFFFF) >> 32 - _HASH_BITS
