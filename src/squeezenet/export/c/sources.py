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


@cache
def files() -> dict[str, Path]:
    """Name → path of each file: in an installed package in the folder beside this file, in a checkout in `engine/`."""
    installed = Path(__file__).parent / "engine"
    engine = Path(__file__).parents[4] / "engine"
    folders = [installed] if installed.is_dir() else [engine / name for name in ("include", "src", "kernels")]
    return {path.name: path for folder in folders for path in sorted(folder.glob("*.[ch]"))}


def needed(names: Iterable[str], headers: Iterable[str]) -> list[Path]:
    """The files that define the functions and tables `names`, the `headers`, and all files that these need, sorted."""
    definitions, uses, includes = _index()
    found: set[str] = set()
    left = {*(definitions[name] for name in names), *headers}
    while left:
        file = left.pop()
        found.add(file)
        left |= {definitions[name] for name in uses[file] if name in definitions} - found
        left |= includes[file] - found
    return [files()[file] for file in sorted(found)]


@cache
def _index() -> tuple[dict[str, str], dict[str, set[str]], dict[str, set[str]]]:
    """Name → file that defines it; file → names that it uses; file → headers that it includes."""
    definitions: dict[str, str] = {}
    uses: dict[str, set[str]] = {}
    includes: dict[str, set[str]] = {}
    for file, path in files().items():
        text = COMMENT.sub("", path.read_text(encoding="utf-8"))
        uses[file] = set(USED.findall(text)) if path.suffix == ".c" else set()
        includes[file] = set(INCLUDED.findall(text))
        if path.suffix == ".c":
            definitions |= dict.fromkeys(DEFINED.findall(text), file)
    return definitions, uses, includes
