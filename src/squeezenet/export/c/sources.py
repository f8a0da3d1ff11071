"""Which of the engine's files a program needs.

>>> [path.name for path in needed({"sqz_scalar"}, [])][:2]
['kernels.h', 'kernels_scalar.c']
"""

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

DEFINED = re.compile(r"^(?:const )?[A-Za-z_][\w ]*[ *](sqz_\w+)(?:\([^;{}]*\)\s*\{| = )", re.MULTILINE)
USED = re.compile(r"\bsqz_\w+")
INCLUDED = re.compile(r'^#include "(\w+\.h)"', re.MULTILINE)
COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)


def folder() -> Path:
    """The folder of the engine's sources: in an installed package beside this file, in a checkout `engine/`."""
    installed = Path(__file__).parent / "engine"
    return installed if installed.is_dir() else Path(__file__).parents[4] / "engine"


def needed(names: Iterable[str], headers: Iterable[str]) -> list[Path]:
    """The files that define the functions and tables `names`, the `headers`, and all files that these need, sorted."""
    definitions, uses, includes = _index()
    files: set[str] = set()
    left = {*(definitions[name] for name in names), *headers}
    while left:
        file = left.pop()
        files.add(file)
        found = {definitions[name] for name in uses[file] if name in definitions} | includes[file]
        left |= found - files
    return [folder() / file for file in sorted(files)]


@cache
def _index() -> tuple[dict[str, str], dict[str, set[str]], dict[str, set[str]]]:
    """Name → file that defines it; file → names that it uses; file → headers that it includes."""
    definitions: dict[str, str] = {}
    uses: dict[str, set[str]] = {}
    includes: dict[str, set[str]] = {}
    for path in sorted([*folder().glob("*.c"), *folder().glob("*.h")]):
        if path.name.startswith(("python", "binding")):
            continue
        text = COMMENT.sub("", path.read_text(encoding="utf-8"))
        uses[path.name] = set(USED.findall(text)) if path.suffix == ".c" else set()
        includes[path.name] = set(INCLUDED.findall(text)) - {"binding.h"}
        if path.suffix == ".c":
            definitions |= dict.fromkeys(DEFINED.findall(text), path.name)
    return definitions, uses, includes
