"""nncodec (ISO/IEC 15938-17) as a process of its own: `benchmarks/size.py --nncodec PYTHON` starts and asks it.

    python -m venv nncodec
    nncodec/bin/pip install nncodec                             # needs a C++ compiler; brings torch and torchvision

Runs in that environment's Python, which has no squeezenet: nothing of nncodec is imported where squeezenet is. A line
of JSON on stdin names weights (`.npz`) and settings of `nncodec.nnc.compress`; they are encoded and decoded, the
decoded weights written to `out`, and a line with bytes and seconds printed. With `ioq` among the settings, a line that
names decoded weights to `judge` comes first, many times over, and their accuracy is read from stdin. Its licence grants
no patent rights: a peer to measure against, never a dependency.
"""

import json
import os
import sys
import time
from importlib.metadata import version
from unittest.mock import MagicMock

import numpy as np


def load_nncodec():
    """`nncodec.nnc`, also beside a torchvision that does not import: only its data sets and training need that."""
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):
        for name in [name for name in sys.modules if name.startswith("torchvision.")]:
            del sys.modules[name]
        for name in ("torchvision", "torchvision.datasets", "torchvision.models", "torchvision.transforms"):
            sys.modules[name] = MagicMock()
    from nncodec import nnc

    return nnc


def executer(judge):
    """What nncodec asks for accuracy while it searches QPs (IOQ)."""
    from nncodec.nnc_core.nnr_model import ModelExecute

    class Judged(ModelExecute):
        """A model whose accuracy someone else knows."""

        def eval_model(self, parameters, verbose=False):
            return {"top1": judge(parameters)}

        def has_eval(self):
            return True

        def has_test(self):
            return False

        def has_tune_ft(self):
            return False

        def has_tune_lsa(self):
            return False

    return Judged()


def answer(nnc, asked: dict, judge) -> dict:
    """Encode and decode what is asked for."""
    with np.load(asked["weights"]) as held:
        weights = {name: held[name] for name in held.files}
    settings = asked["settings"]
    if settings.get("ioq"):
        settings["model_executer"] = executer(lambda parameters: judge(asked["out"], parameters))
    clock = time.perf_counter()
    stream = nnc.compress(dict(weights), bitstream_path=None, return_bitstream=True, **settings)
    encoded = time.perf_counter() - clock
    clock = time.perf_counter()
    decoded = nnc.decompress(bytearray(stream))
    seconds = time.perf_counter() - clock
    np.savez(asked["out"], **decoded)
    return {"bytes": len(stream), "encode": encoded, "decode": seconds}


def main() -> None:
    """Answer until stdin ends."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # nncodec prints to stdout what it does
    nnc = load_nncodec()

    def say(what: dict) -> None:
        print(json.dumps(what), file=replies, flush=True)

    def judge(path: str, parameters: dict) -> float:
        np.savez(path, **parameters)
        say({"judge": path})
        return float(sys.stdin.readline())

    say({"version": version("nncodec")})
    while line := sys.stdin.readline():
        say(answer(nnc, json.loads(line), judge))


if __name__ == "__main__":
    main()
