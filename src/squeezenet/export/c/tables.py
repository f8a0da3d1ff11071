"""The planner's tables (`plan_rows` in `_workshop.pyi`) as C.

>>> initialiser({"kind": 1, "kernel": (3, 3), "work": "sqz_max_pool"})
'{.kind = 1, .kernel = {3, 3}, .work = sqz_max_pool}'
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

ON_A_LINE = 32
"""Numbers on a line of a long array."""


def initialiser(value: Any) -> str:
    """A C initialiser: a dict is a struct, a tuple an array, a str the name of a function or constant."""
    if isinstance(value, dict):
        if not value:
            return "{0}"
        return "{" + ", ".join(f".{name} = {initialiser(field)}" for name, field in value.items()) + "}"
    if isinstance(value, tuple | list):
        return "{" + ", ".join(map(initialiser, value)) + "}"
    return f"{value.hex()}f" if isinstance(value, float) else str(value)


def array(kind: str, name: str, rows: Iterable[str]) -> str:
    """The definition of a constant array; each of `rows` is a line."""
    return f"{kind} {name}[] = {{\n" + "".join(f"    {row},\n" for row in rows) + "};\n"


def numbers(values: Iterable[int]) -> Iterator[str]:
    """Lines of numbers."""
    written = [str(value) for value in values]
    for i in range(0, len(written), ON_A_LINE):
        yield ",".join(written[i : i + ON_A_LINE])


def functions(value: Any) -> Iterator[str]:
    """The names of all functions in tables of a plan. Names in capital letters are constants."""
    if isinstance(value, str) and value.islower():
        yield value
    elif isinstance(value, Mapping):
        for field in value.values():
            yield from functions(field)
    elif isinstance(value, tuple | list):
        for each in value:
            yield from functions(each)
