"""Drops a softmax or a sigmoid at the end of a network, and returns which one, since it says what the outputs mean.

linear -> softmax    becomes    linear, "softmax"
"""

from squeezenet.graph import Activation, Flatten
from squeezenet.importing.draft import Draft, Ending, Softmax


def drop_ending(draft: Draft) -> Ending:
    """The name of what was dropped, or ""."""
    found: Ending = ""
    last, op = draft.output, draft.ops.get(draft.output)
    if isinstance(op, Flatten):  # of a map of one position, which was not flat before
        last = op.inputs[0]
        op = draft.ops.get(last)
    if draft.readers()[last] not in ([-1], [draft.output]):
        return found
    if isinstance(op, Softmax):
        found = "log_softmax" if op.logarithm else "softmax"
    elif isinstance(op, Activation) and op.function == "sigmoid":
        found = "sigmoid"
    if found:
        assert op is not None
        draft.replace(last, op.inputs[0])
        draft.drop_unused()
    return found
