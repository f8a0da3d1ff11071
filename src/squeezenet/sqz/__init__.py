"""The `.sqz` file: one model, complete, small and exact. docs/FORMAT.md is its specification.

>>> write(model, "model.sqz")                               # doctest: +SKIP
>>> read("model.sqz").label(0)                              # doctest: +SKIP
'tench, Tinca tinca'

All is loaded when it is used. Functions that hold weights need NumPy; labelling an image takes only `sqz.light`.
"""

TYPE_CHECKING = False  # as in `squeezenet`
if TYPE_CHECKING:
    from typing import Any

    from squeezenet.sqz.file import MAGIC, VERSION, Section, decode, encode, examine, front_size, read, sections, write
    from squeezenet.sqz.light import named, read_bytes

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


def __getattr__(name: str) -> "Any":
    if name in ("named", "read_bytes"):
        from squeezenet.sqz import light

        return getattr(light, name)
    if name in __all__:
        from squeezenet.sqz import file

        return getattr(file, name)
    raise AttributeError(f"module 'squeezenet.sqz' has no attribute {name!r}")
