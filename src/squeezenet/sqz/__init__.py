"""The `.sqz` file: one model, complete, small and exact. docs/FORMAT.md is its specification.

>>> write(model, "model.sqz")                               # doctest: +SKIP
>>> read("model.sqz").label(0)                              # doctest: +SKIP
'tench, Tinca tinca'
"""

from squeezenet.sqz.file import MAGIC, VERSION, Section, decode, encode, read, read_bytes, sections, write

__all__ = ["MAGIC", "VERSION", "Section", "decode", "encode", "read", "read_bytes", "sections", "write"]
