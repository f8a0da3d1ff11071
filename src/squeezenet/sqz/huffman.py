"""Huffman coding, the last stage of Deep Compression (arXiv 1510.00149, section 4), as a canonical symbol code.

    >>> coded = encode(np.array([3, 3, 3, 1, 3]))
    >>> decode(Cursor(coded), count=5).tolist()
    [3, 3, 3, 1, 3]

A stream is: alphabet size (varint); number of bytes that follow (varint); the code length of every symbol; the codes.
Lengths and codes are one string of bits, most significant first, padded with zeros. Each length is coded as its
difference to the length before (at first 0), in the exponential Golomb code; length 0: the symbol does not occur.
Neighbouring symbols are neighbouring centroids or gaps, so a length takes about two bits. A stream of one repeated
symbol has no codes.
"""

import numpy as np
from numpy.typing import NDArray

from squeezenet.errors import BadStream
from squeezenet.sqz.cursor import Cursor, put_varint

MAX_LENGTH = 15
"""Bits of the longest code. The table of a decoder then has at most 32,768 entries."""

MAX_ALPHABET = 65536

Symbols = NDArray[np.uint16]
CHUNK = 1 << 15  # bytes decoded, or symbols encoded, at once; this limits the memory


def code_lengths(counts: NDArray[np.int64], limit: int = MAX_LENGTH) -> NDArray[np.int64]:
    """Optimal code lengths of at most `limit` bits for symbols that occur `counts` times (package-merge).

    Symbols that do not occur get 0; a single symbol gets 1.
    """
    used = np.flatnonzero(counts)
    lengths = np.zeros(counts.size, np.int64)
    if used.size < 2:
        lengths[used] = 1
        return lengths
    if used.size > 1 << limit:
        raise ValueError(f"{used.size} symbols do not fit into codes of {limit} bits")
    # Each item is (weight, how often each used symbol is inside it); symbols are sorted by weight.
    order = used[np.argsort(counts[used], kind="stable")]
    leaves = counts[order]
    weights, members = leaves, [np.array([i]) for i in range(used.size)]
    for _ in range(limit - 1):
        paired = weights[: weights.size // 2 * 2].reshape(-1, 2).sum(1)
        packages = [np.concatenate(members[2 * i : 2 * i + 2]) for i in range(paired.size)]
        merged = np.concatenate([leaves, paired])
        rank = np.argsort(merged, kind="stable")
        singles: list[NDArray[np.int64]] = [np.array([i]) for i in range(used.size)]
        both = singles + packages
        weights, members = merged[rank], [both[i] for i in rank]
    chosen = np.concatenate(members[: 2 * (used.size - 1)])
    lengths[order] = np.bincount(chosen, minlength=used.size)
    return lengths


def canonical_codes(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """The code of every symbol: shorter codes first, equal lengths in the order of the symbols.

    Raises `BadStream` unless the lengths describe exactly one complete prefix code.
    """
    used = np.flatnonzero(lengths)
    if used.size == 0 or (used.size == 1 and lengths[used[0]] != 1):
        raise BadStream("a code table names no symbol")
    if used.size > 1 and (np.int64(1) << (MAX_LENGTH - lengths[used])).sum() != 1 << MAX_LENGTH:
        raise BadStream("a code table is not a complete prefix code")
    codes = np.zeros(lengths.size, np.int64)
    code, previous = 0, 0
    for symbol in used[np.argsort(lengths[used], kind="stable")]:
        code <<= int(lengths[symbol]) - previous
        previous = int(lengths[symbol])
        codes[symbol] = code
        code += 1
    return codes


def coded_size(counts: NDArray[np.int64]) -> int:
    """Bytes of the stream that `encode` writes for symbols that occur `counts` times."""
    counts = counts[: int(np.flatnonzero(counts)[-1]) + 1] if counts.any() else counts[:0]
    lengths = code_lengths(counts)
    payload = int((lengths * counts).sum()) if np.count_nonzero(counts) > 1 else 0
    bits = sum(len(_golomb(d)) for d in np.diff(lengths, prepend=0)) + payload
    header = bytearray()
    put_varint(header, counts.size)
    put_varint(header, -(-bits // 8))
    return len(header) + -(-bits // 8)


def encode(symbols: NDArray[np.integer], chunk: int = CHUNK) -> bytes:
    """The stream of a sequence of symbols, 0 to 65,535."""
    out = bytearray()
    if symbols.size == 0:
        return b"\0\0"
    counts = np.bincount(symbols.ravel())
    lengths = code_lengths(counts)
    table = np.frombuffer("".join(map(_golomb, np.diff(lengths, prepend=0))).encode(), np.uint8) - ord("0")
    if np.count_nonzero(lengths) > 1:
        codes = canonical_codes(lengths)
        bits = np.concatenate([table, _code_bits(symbols.ravel(), codes, lengths, chunk)])
    else:
        bits = table
    payload = np.packbits(bits).tobytes()
    put_varint(out, counts.size)
    put_varint(out, len(payload))
    return bytes(out) + payload


def decode(cursor: Cursor, count: int, alphabet: int = MAX_ALPHABET, chunk: int = CHUNK) -> Symbols:
    """Read a stream of `count` symbols, each less than `alphabet`.

    Raises `BadStream`; `Truncated` if the buffer ends before the stream.
    """
    size = cursor.varint(min(alphabet, MAX_ALPHABET))
    payload = cursor.take(cursor.varint())
    if count == 0 or size == 0:
        if count or size or len(payload):
            raise BadStream(f"{cursor.what}: an empty stream with contents, or the other way round")
        return np.zeros(0, np.uint16)
    if size > 8 * len(payload):  # each length takes at least one bit
        raise BadStream(f"{cursor.what}: a code table is longer than its stream")
    lengths, at = _read_lengths(payload, size)
    if lengths[-1] == 0:
        raise BadStream(f"{cursor.what}: a code table is longer than it needs to be")
    codes = canonical_codes(lengths)
    used = np.flatnonzero(lengths)
    if used.size == 1:
        symbols = np.full(count, used[0], np.uint16)
    else:
        if count > 8 * len(payload) - at:  # each code takes at least one bit
            raise BadStream(f"{cursor.what}: {count} symbols do not fit into a stream of {len(payload)} bytes")
        symbols, at = _read_codes(payload, at, count, codes, lengths, chunk)
    tail = payload[at // 8 :]
    if len(tail) > 1 or (len(tail) == 1 and (at % 8 == 0 or tail[0] & (0xFF >> at % 8))):
        raise BadStream(f"{cursor.what}: bits after the last code")
    return symbols


def _golomb(difference: int) -> str:
    """Order-0 exponential Golomb code of a signed number: 0, 1, -1, 2, -2, ... -> 1, 010, 011, 00100, ..."""
    value = 2 * int(difference) if difference > 0 else -2 * int(difference) + 1
    binary = f"{max(value, 1):b}"
    return "0" * (len(binary) - 1) + binary


def _read_lengths(payload: memoryview, size: int) -> tuple[NDArray[np.int64], int]:
    # A length's code has at most 9 bits (differences of -15 to 15).
    bits = "".join(f"{byte:08b}" for byte in payload[: (size * 9 + 7) // 8])
    lengths = np.zeros(size, np.int64)
    at, previous = 0, 0
    for i in range(size):
        end = 2 * bits.find("1", at) - at + 1
        if end <= at or end > len(bits):
            raise BadStream("a code table ends too early")
        value = int(bits[at:end], 2)
        previous += value >> 1 if value % 2 == 0 else -(value >> 1)
        if not 0 <= previous <= MAX_LENGTH:
            raise BadStream(f"a code of {previous} bits")
        lengths[i] = previous
        at = end
    return lengths, at


def _code_bits(
    symbols: NDArray[np.integer], codes: NDArray[np.int64], lengths: NDArray[np.int64], chunk: int
) -> NDArray[np.uint8]:
    parts = []
    for start in range(0, symbols.size, chunk):
        some = symbols[start : start + chunk]
        size, values = lengths[some], codes[some]
        starts = np.cumsum(size) - size
        bits = np.zeros(int(size.sum()), np.uint8)
        for k in range(int(size.max())):
            longer = size > k
            bits[starts[longer] + k] = (values[longer] >> (size[longer] - 1 - k)) & 1
        parts.append(bits)
    return np.concatenate(parts)


def _read_codes(
    payload: memoryview, at: int, count: int, codes: NDArray[np.int64], lengths: NDArray[np.int64], chunk: int
) -> tuple[Symbols, int]:
    """Find the code that would start at each bit, for all bits at once; then go from code to code.

    Only the second part is a loop in Python, with a few instructions per symbol.
    """
    longest = int(lengths.max())
    table = np.zeros(1 << longest, np.uint16)
    for symbol in np.flatnonzero(lengths):
        spread = longest - int(lengths[symbol])
        first = int(codes[symbol]) << spread
        table[first : first + (1 << spread)] = symbol
    padded = np.frombuffer(bytes(payload) + b"\0\0\0", np.uint8)
    total = 8 * len(payload)
    symbols = np.empty(count, np.uint16)
    done = 0
    while done < count:
        if at >= total:
            raise BadStream("a stream ends before its last symbol")
        first_byte = at // 8
        block = padded[first_byte : first_byte + chunk + 2].astype(np.int64)
        window = (block[:-2] << 16) | (block[1:-1] << 8) | block[2:]
        shifts = 24 - longest - np.arange(8)
        found = table[(window[:, None] >> shifts) & ((1 << longest) - 1)].ravel()
        steps = lengths[found].astype(np.uint8).tobytes()
        position, limit = at - 8 * first_byte, len(steps)
        positions = []
        for _ in range(count - done):
            if position >= limit:
                break
            positions.append(position)
            position += steps[position]
        symbols[done : done + len(positions)] = found[positions]
        done += len(positions)
        at = 8 * first_byte + position
    if at > total:
        raise BadStream("a stream ends inside its last symbol")
    return symbols, at
