"""The command `squeezenet` as a process: for `classify`, begins to decode the model before anything else is imported.

>>> probable_model(["photo.jpg", "--model=birds.sqz"])
'birds.sqz'

What this module imports is all that the decoding waits for: neither `typing` nor `argparse` nor `pathlib`. The command
line itself is `cli.main`. If it finds that another model is meant, what was decoded here is not used (`sqz.ahead`).
"""

import gc
import os
import sys
from collections.abc import Sequence

import squeezenet
from squeezenet.cli.cores import USUAL_THREADS, available_cores

DEFAULT = "imagenet"
"""As in `zoo`; a test compares them."""

SWITCH = 0.0002
"""Seconds that a thread of Python waits for another one. The usual 5 ms are long for the thread that decodes."""


def main() -> int:
    """Run the command of this process and return its exit code."""
    if sys.argv[1:2] == ["classify"]:
        gc.set_threshold(100_000)  # it is over before collecting what its imports make would pay
        model = probable_model(sys.argv[2:])
        threads = min(available_cores(), USUAL_THREADS)
        if model is not None and threads > 1:
            from squeezenet.sqz import ahead

            sys.setswitchinterval(SWITCH)
            ahead.begin(model, threads - 1)
    from squeezenet.cli.main import main

    return main()


def probable_model(arguments: Sequence[str]) -> str | None:
    """The `.sqz` file that `classify` with these arguments will read; None if nothing should be decoded ahead."""
    if "-h" in arguments or "--help" in arguments or _value("--threads", arguments) == "1":
        return None
    named = _value("--model", arguments)
    if named is not None and (named.endswith(".sqz") or os.path.exists(named)):
        return named
    return os.path.join(os.path.dirname(squeezenet.__file__), "zoo", f"{named or DEFAULT}.sqz")


def _value(option: str, arguments: Sequence[str]) -> str | None:
    """The last value that is given to an option."""
    for at in reversed(range(len(arguments))):
        if arguments[at] == option:
            return arguments[at + 1] if at + 1 < len(arguments) else None
        if arguments[at].startswith(f"{option}="):
            return arguments[at].removeprefix(f"{option}=")
    return None
