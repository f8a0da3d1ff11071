"""Text that came from a file, a name or a server, made harmless for a terminal.

>>> printable("tabby\\x1b[2K\\n")
'tabby\\\\x1b[2K\\\\n'
"""


def printable(text: str) -> str:
    """`text` on one line, in which every character is one that a terminal shows and does not obey.

    Control characters (escape sequences and line ends among them), text that reverses the reading direction and bytes
    that are no Unicode (surrogates) are written as Python escapes, such as `\\x1b`.
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
