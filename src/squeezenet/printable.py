"""Makes text from files, names and servers harmless for a terminal.

>>> printable("tabby\\x1b[2K\\n")
'tabby\\\\x1b[2K\\\\n'
>>> harmless({"labels": ["tabby\\x07"], "bytes": 3})
{'labels': ['tabby\\\\x07'], 'bytes': 3}
"""

from typing import Any


def printable(text: str) -> str:
    """`text` on one line, with only characters that a terminal shows and does not execute.

    Control characters (such as escapes and line ends), characters that reverse the reading direction, and bytes that
    are not Unicode (surrogates) become Python escapes such as `\\x1b`.
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def counted(number: float, one: str, more: str = "") -> str:
    """A number with its noun; `more` is the plural if it is not `one` plus "s".

    >>> counted(1, "image"), counted(1200, "image"), counted(0, "class", "classes")
    ('1 image', '1,200 images', '0 classes')
    """
    written = f"{number:,}" if isinstance(number, int) else f"{number:g}"
    return f"{written} {one if written == '1' else more or one + 's'}"


def harmless(value: Any) -> Any:
    """`value` with every string made `printable`, also inside dictionaries (with their keys), lists and tuples."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {harmless(key): harmless(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [harmless(item) for item in value]
    return value
