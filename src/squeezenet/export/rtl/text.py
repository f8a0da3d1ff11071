"""Names from models, made harmless for comments.

>>> comment("fire2/s1x1 */ `include")
'fire2/s1x1__/__include'
"""

import re

OTHER = re.compile(r"[^A-Za-z0-9_./-]")
MOST_OF_A_NAME = 60
"""Characters of a name that a comment keeps."""


def comment(name: str) -> str:
    """A name for a comment: `_` replaces all characters but letters, digits and `_./-`."""
    return OTHER.sub("_", name)[:MOST_OF_A_NAME]
