"""The C engine (engine/python.c). Only where it was built; `squeezenet doctor` says so."""

from collections.abc import Buffer

TRUNCATED: int
TRAILING: int

def levels_decode(data: Buffer, levels: Buffer, shape: tuple[int, int, int, int], /) -> int: ...
def levels_encode(levels: Buffer, shape: tuple[int, int, int, int], /) -> bytes: ...
def levels_size(levels: Buffer, shape: tuple[int, int, int, int], /) -> int: ...
