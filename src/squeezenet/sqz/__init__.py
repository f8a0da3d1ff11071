"""The `.sqz` file: one model, complete, small and exact. docs/FORMAT.md is its specification.

>>> write(model, "model.sqz")                               # doctest: +SKIP
>>> read("model.sqz").label(0)                              # doctest: +SKIP
'tench, Tinca tinca'

Functions that hold weights need NumPy and are loaded when they are used. Labelling an image takes only `sqz.light`.
"""

from typing import TYPE_CHECKING, Any

from squeezenet.sqz.light import named, read_bytes

if TYPE_CHECKING:
    from squeezenet.sqz.file import MAGIC, VERSION, Section, decode, encode, examine, front_size, read, sections, write

__all__ = [
    "MAGIC",
    "VERSION",
    "Section",
    "decode",
    "encode",
    "examine",
    "front_size",
    "named",
    "read",
    "read_bytes",
    "sections",
    "write",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from squeezenet.sqz import file

        return getattr(file, name)
    raise AttributeError(f"module 'squeezenet.sqz' has no attribute {name!r}")
