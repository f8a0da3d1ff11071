r"""Text from models, made harmless for C.

>>> print(string('say "hi"?'))
"say \"hi\"\?"
>>> comment("fire2/s1x1 */ #")
'fire2/s1x1__/__'
"""

import re

OTHER = re.compile(r"[^A-Za-z0-9_./-]")
MOST_OF_A_NAME = 60
"""Characters of a layer's name that a comment keeps."""


def string(text: str) -> str:
    """A C string literal with the bytes of `text` in UTF-8; bytes that are not Unicode stay what they were.

    Other characters than printable ASCII are octal escapes of three digits, which cannot swallow the digit that
    follows. An escaped question mark begins no trigraph.
    """
    return '"' + "".join(map(_escaped, text.encode("utf-8", "surrogateescape"))) + '"'


def _escaped(byte: int) -> str:
    if byte in b'"\\?':
        return "\\" + chr(byte)
    return chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}"


def comment(name: str) -> str:
    """A layer's name for a comment: `_` replaces all characters but letters, digits and `_./-`."""
    return OTHER.sub("_", name)[:MOST_OF_A_NAME]
