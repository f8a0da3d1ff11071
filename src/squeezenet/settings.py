"""Settings: frozen dataclasses that are read from TOML tables and from `--set NAME=VALUE`, and written as TOML.

>>> from dataclasses import dataclass
>>> @dataclass(frozen=True)
... class Crop:
...     pad: int = 0
...     area: float = 1.0
>>> from_table(Crop, {"area": 1}, "crop.toml: ")
Crop(pad=0, area=1.0)
>>> written(to_table(from_table(Crop(), split(["pad=2"]), "--set ", text=True), base=Crop()))
'pad = 2\\n'

msgspec checks the types, and tomli-w writes the text (docs/adr/0021). A dataclass inside a dataclass is a table inside
a table: `[augmentation]` in a file, `augmentation.pad=2` on the command line. TOML has no word for None: a
setting that is None is left out, or it is written as the text "none" if its default is not None.
"""

import tomllib
import typing
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, is_dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import tomli_w

from squeezenet.errors import UsageError

T = TypeVar("T")
_WORDS = {str: "a string", int: "a whole number", float: "a number", bool: "true or false", dict: "a table"}


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file. Raises `UsageError`."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: is not TOML ({error}); mend the line, or give another file") from None


def kinds_of(kind: type, leaving_out: Collection[str] = ()) -> dict[str, Any]:
    """Name -> type of the fields of a dataclass."""
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind) if field.name not in leaving_out}


def from_table(
    base: type[T] | T, table: object, where: str, leaving_out: Collection[str] = (), *, text: bool = False
) -> T:
    """A dataclass from a TOML table. Fields that are not in the table have the values or the defaults of `base`.

    Messages begin with `where`, as in "recipe.toml: training.". With `text`, all values are strings that a user typed.
    Raises `UsageError` for an unknown name, and for a value of another type.
    """
    kind = base if isinstance(base, type) else type(base)
    told = typed(kinds_of(kind, leaving_out), table, where, base, text=text)
    try:
        return base(**told) if isinstance(base, type) else replace(base, **told)  # type: ignore[type-var]
    except (TypeError, UsageError) as error:  # a field without a default is missing, or a value is impossible
        raise UsageError(f"{where}{error}") from None


def typed(
    kinds: Mapping[str, Any], table: object, where: str, base: object = None, *, text: bool = False
) -> dict[str, Any]:
    """The settings in `table`, converted to their types; `kinds`: name -> type. The rest is as in `from_table`."""
    if not isinstance(table, Mapping):
        raise UsageError(f"{where.rstrip('.: ')} = {table!r}: must be a table")
    told = {}
    for name, value in table.items():
        if name not in kinds:
            near = get_close_matches(name, kinds, 1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise UsageError(f"{where}{name}: no such setting; {hint}known are {', '.join(sorted(kinds))}")
        inner = next((kind for kind in _without_none(kinds[name]) if is_dataclass(kind)), None)
        if inner is None:
            told[name] = _value(kinds[name], value, f"{where}{name}", text)
        else:
            begin = getattr(base, name, None) or inner
            told[name] = from_table(begin, value, f"{where}{name}.", text=text)
    return told


def split(texts: Sequence[str]) -> dict[str, Any]:
    """A table of strings from texts `NAME=VALUE`, for `from_table` and `typed` with `text`. Raises `UsageError`.

    >>> split(["lr=0.1", "augmentation.pad=2"])
    {'lr': '0.1', 'augmentation': {'pad': '2'}}
    """
    table: dict[str, Any] = {}
    for text in texts:
        path, equals, value = text.partition("=")
        *outer, name = path.split(".")
        inner: Any = table
        for word in outer:
            inner = inner.setdefault(word, {}) if isinstance(inner, dict) else None
        if not equals or not isinstance(inner, dict):
            raise UsageError(f"--set {text}: write NAME=VALUE, as in lr=0.1")
        inner[name] = value
    return table


def written(table: Mapping[str, Any]) -> str:
    """A TOML table as text."""
    return tomli_w.dumps(table)


def to_table(value: Any, base: Any = None) -> dict[str, Any]:
    """The TOML table of `value`, a dataclass, for `from_table`. With `base`, only the settings that differ from it."""
    table: dict[str, Any] = {}
    for field in fields(value):
        now, usual = getattr(value, field.name), getattr(base, field.name, None)
        if base is not None and now == usual:
            continue
        if is_dataclass(now):
            table[field.name] = to_table(now, usual)
        elif now is not None:
            table[field.name] = now
        elif usual is not None or (base is None and field.default is not None):
            table[field.name] = "none"
    return table


def _value(kind: Any, value: Any, name: str, text: bool) -> Any:
    kinds = _without_none(kind)
    choices = typing.get_args(kinds[0]) if typing.get_origin(kinds[0]) is typing.Literal else ()
    if value == "none" and kinds[0] is not kind and str not in kinds:
        return None
    told = value
    with suppress(ValueError):  # a text that is no value stays a string, and msgspec refuses it
        if text and kinds[0] in (int, float):
            told = kinds[0](value)
        elif text and not choices and str not in kinds:
            told = tomllib.loads(f"value = {value}")["value"]
    try:
        return msgspec.convert(told, kind)
    except msgspec.ValidationError as error:
        wanted = f"one of {', '.join(map(str, choices))}" if choices else _WORDS.get(kinds[0])
        raise UsageError(f"{name} = {value!r}: {f'must be {wanted}' if wanted else error}") from None


def _without_none(kind: Any) -> tuple[Any, ...]:
    """The members of a union except None; or the type itself."""
    members = typing.get_args(kind)
    return tuple(member for member in members if member is not type(None)) if type(None) in members else (kind,)
