"""Computes once what is computed twice: equal operations without weights that read the same values.

relu(x), relu(x)    becomes    relu(x)
"""

from squeezenet.graph import Layer
from squeezenet.importing.draft import Affine, Draft, Step


def merge_duplicates(draft: Draft) -> bool:
    """Merge all equal operations."""
    changed = False
    first: dict[Step, int] = {}
    for number in list(draft.ops):
        op = draft.ops[number]
        if isinstance(op, Layer | Affine):
            continue
        if op in first:
            draft.replace(number, first[op])
            changed = True
        first.setdefault(op, number)
    if changed:
        draft.drop_unused()
    return changed
