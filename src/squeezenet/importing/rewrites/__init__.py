"""Rewrites of a draft, for PyTorch and ONNX. Each file has a function that returns whether it changed the draft.

    >>> rewrite(draft)                                            # doctest: +SKIP

Afterwards the draft has only operations of `graph.Op`.
"""

from squeezenet.importing.draft import Affine, Draft, Ending, depthwise
from squeezenet.importing.rewrites.activations import write_activations
from squeezenet.importing.rewrites.affine import fold_affine
from squeezenet.importing.rewrites.branches import merge_branches
from squeezenet.importing.rewrites.duplicates import merge_duplicates
from squeezenet.importing.rewrites.ending import drop_ending
from squeezenet.importing.rewrites.norms import write_norms
from squeezenet.importing.rewrites.padding import merge_padding
from squeezenet.importing.rewrites.signs import refuse_negative_divisors
from squeezenet.importing.rewrites.unflatten import remove_unflatten

__all__ = ["rewrite"]


def rewrite(draft: Draft) -> Ending:
    """Apply all rewrites. Returns what the network computes from its logits (softmax, sigmoid), which is dropped."""
    draft.drop_unused()
    ending = drop_ending(draft)
    while write_activations(draft) or write_norms(draft):
        draft.drop_unused()
    refuse_negative_divisors(draft)
    remove_unflatten(draft)
    merge_padding(draft)
    draft.drop_unused()
    while fold_affine(draft) or merge_duplicates(draft) or merge_branches(draft):
        draft.drop_unused()
    for number, op in list(draft.ops.items()):
        if isinstance(op, Affine):
            depthwise(number, draft)
    return ending
