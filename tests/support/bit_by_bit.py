"""The reader of docs/FORMAT.md's symbol code, one bit after the other."""

from squeezenet.sqz.cursor import Cursor


def decode_bit_by_bit(stream: bytes, count: int) -> list[int]:
    """The stream read as its description in docs/FORMAT.md says, one bit after the other."""
    cursor = Cursor(stream)
    size = cursor.varint()
    bits = iter("".join(f"{byte:08b}" for byte in cursor.take(cursor.varint())))
    if not size:
        return []
    lengths = []
    for _ in range(size):
        zeros = 0
        while next(bits) == "0":
            zeros += 1
        value = int("1" + "".join(next(bits) for _ in range(zeros)), 2)
        difference = -(value // 2) if value % 2 else value // 2
        lengths.append((lengths[-1] if lengths else 0) + difference)
    if sum(n > 0 for n in lengths) == 1:
        return [lengths.index(1)] * count
    book, code, previous = {}, 0, 0
    for length, symbol in sorted((n, s) for s, n in enumerate(lengths) if n):
        code <<= length - previous
        book[f"{code:0{length}b}"] = symbol
        code, previous = code + 1, length
    symbols = []
    for _ in range(count):
        word = next(bits)
        while word not in book:
            word += next(bits)
        symbols.append(book[word])
    return symbols
