"""The decompressed size of the pages of a Parquet file, from the header of each page.

    >>> with open_regular("x.parquet") as file:                           # doctest: +SKIP
    ...     decompressed_bytes(file, pq.ParquetFile("x.parquet").metadata.row_group(0).column(0))
    1048628

Arrow allocates the sizes in these headers; the file's own summary may state others. A header is a struct of Thrift's
compact protocol: for each field one byte (4 bits: distance to the last field's id; 4 bits: type), then the value.
"""

from typing import Any, BinaryIO

from squeezenet.errors import DataError

_HEADER_BYTES = 2**14  # of the header of a page, with statistics
_MOST_PAGES = 50_000  # of a column in a row group
_DEPTH = 8  # of nested structs; Parquet has three

_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 11, 12
_INTEGERS = (4, 5, 6)
_UNCOMPRESSED, _COMPRESSED = 2, 3  # fields of a page's header


def decompressed_bytes(file: BinaryIO, column: Any) -> int:
    """Decompressed bytes of `column`, a `ColumnChunkMetaData` of pyarrow. Raises `DataError` if pages are damaged."""
    at = min(place for place in (column.dictionary_page_offset, column.data_page_offset) if place is not None)
    if at < 0:
        raise DataError(f"pages at the negative offset {at:,}")
    end = at + column.total_compressed_size
    total = 0
    for _ in range(_MOST_PAGES):
        if at >= end:
            return total
        file.seek(at)
        header = _Header(file.read(_HEADER_BYTES))
        fields = header.struct(0)
        size, packed = fields.get(_UNCOMPRESSED, -1), fields.get(_COMPRESSED, -1)
        if size < 0 or packed < 0:
            raise DataError(f"a page without a size at byte {at:,}")
        total += size
        at += header.at + packed
    raise DataError(f"more than {_MOST_PAGES:,} pages in a row group")


class _Header:
    """Reads a struct; keeps its whole numbers and skips all other values."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def struct(self, depth: int) -> dict[int, int]:
        """Id -> value of the fields that are whole numbers."""
        if depth > _DEPTH:
            raise DataError("structs that are nested too deep")
        fields: dict[int, int] = {}
        number = 0
        while (first := self.byte()) & 15:
            kind = first & 15
            number = number + (first >> 4) if first >> 4 else self.signed()
            value = self.value(kind, depth)
            if kind in _INTEGERS:
                fields[number] = value
        return fields

    def value(self, kind: int, depth: int) -> int:
        """A whole number; any other value is skipped and gives 0."""
        if kind in _INTEGERS:
            return self.signed()
        if kind == _STRUCT:
            self.struct(depth + 1)
        elif kind in (_LIST, _SET):
            first = self.byte()
            self.values([first & 15], first >> 4 if first >> 4 < 15 else self.varint(), depth)
        elif kind == _MAP:
            if count := self.varint():
                kinds = self.byte()
                self.values([kinds >> 4, kinds & 15], count, depth)
        elif kind not in (_TRUE, _FALSE):
            self.skip({_BYTE: 1, _DOUBLE: 8}.get(kind) if kind != _BINARY else self.varint())
        return 0

    def values(self, kinds: list[int], count: int, depth: int) -> None:
        for _ in range(count):
            for kind in kinds:
                self.value(_BYTE if kind in (_TRUE, _FALSE) else kind, depth + 1)

    def signed(self) -> int:
        value = self.varint()
        return (value >> 1) ^ -(value & 1)

    def varint(self) -> int:
        value = shift = 0
        while (byte := self.byte()) & 128:
            value |= (byte & 127) << shift
            shift += 7
        return value | byte << shift

    def byte(self) -> int:
        if self.at >= len(self.data):
            raise DataError("a header of a page without an end")
        self.at += 1
        return self.data[self.at - 1]

    def skip(self, count: int | None) -> None:
        if count is None:
            raise DataError("an unknown type in the header of a page")
        self.at += count
