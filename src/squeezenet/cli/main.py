"""The command line: one verb a job. `squeezenet VERB --help` says what each takes.

A verb is a module with `configure(parser)`, `run(args) -> dict` (the JSON object) and `render(result) -> str`.
Only the chosen verb's module is imported, so `classify` never pays for what training needs.
"""

import argparse
import importlib
import json
import os
import sys
from collections.abc import Sequence
from types import ModuleType

from squeezenet.errors import MissingDependency, SqueezeNetError, UsageError
from squeezenet.version import __version__

VERBS = {
    "demo": "train, squeeze, ship and use a network on images that come with a dependency",
    "train": "train a network; resumes where a run stopped",
    "evaluate": "accuracy of exactly what would ship",
    "classify": "label images",
    "compress": "squeeze a model into one .sqz file",
    "inspect": "layer by layer: shapes, parameters, density, bits, bytes (the paper's table 1)",
    "explore": "sweep or search the design space: accuracy against bytes, MACs and RAM",
    "reproduce": "what the paper printed, and beside it what comes out here",
    "convert": "read and write other people's model files",
    "data": "pack images into shards that train fast",
    "models": "what ships, what can be pulled, what can be trained",
    "pull": "fetch published weights, once",
    "doctor": "check this installation",
}

WORKSHOP = {"torch", "safetensors", "datasets", "pyarrow", "sklearn", "tensorboard", "matplotlib", "tqdm"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 failed, 2 wrong usage."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser, verb = _parser(arguments)
    args = parser.parse_args(arguments)
    try:
        result = verb.run(args)
        if result.get("rank", 0) == 0:  # of several processes, one speaks
            print(json.dumps(result) if args.json else verb.render(result), flush=True)
        return 1 if result.get("failed") else 0  # of several images, those that cannot be read
    except KeyboardInterrupt:
        print("squeezenet: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (SqueezeNetError, ImportError, OSError, MemoryError) as error:
        if args.debug:
            raise
        known = _explain(error)
        if known is None:
            raise
        print(f"squeezenet: {' '.join(str(known).split())}", file=sys.stderr)
        return known.exit_code


def _parser(arguments: list[str]) -> tuple[argparse.ArgumentParser, ModuleType]:
    chosen = next((a for a in arguments if a in VERBS), None)
    _share_cores(chosen)
    parser = argparse.ArgumentParser(prog="squeezenet", description=__doc__.split("\n")[0])
    parser.add_argument("--version", action="version", version=f"squeezenet {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    module = ModuleType("none")
    for name, summary in VERBS.items():
        sub = verbs.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        if name == chosen:
            try:
                module = importlib.import_module(f"squeezenet.cli.{name}")
            except ImportError as error:
                known = _explain(error)
                if known is None:
                    raise
                print(f"squeezenet: {known}", file=sys.stderr)
                raise SystemExit(known.exit_code) from None
            module.configure(sub)
        sub.add_argument("--json", action="store_true", help="print exactly one JSON object on stdout")
        sub.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser, module


def _share_cores(verb: str | None) -> None:
    """Settings that libraries read when they are loaded, so this runs before any verb imports them.

    PyTorch's threads spin while they wait, which on two busy cores made a training step 16 times slower. OpenBLAS's do
    too: products of matrices take one thread each, and images are shared out instead. `classify` has one image at a
    time to work on and keeps its threads.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if verb != "classify":
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def _explain(error: BaseException) -> SqueezeNetError | None:
    """The one line a user needs, or None where the error is a fault of ours that a traceback must show."""
    if isinstance(error, SqueezeNetError):
        return error
    if isinstance(error, ImportError):
        missing = (error.name or "").split(".")[0]
        extra = "train" if missing in WORKSHOP else "explore" if missing == "optuna" else None
        if extra:
            return MissingDependency(f"this needs {missing}; install it with: pip install 'squeezenet[{extra}]'")
        return None
    if isinstance(error, MemoryError):
        return SqueezeNetError("not enough memory; try a smaller --batch-size or close other programs")
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        wrong_path = isinstance(error, FileNotFoundError | FileExistsError | IsADirectoryError | NotADirectoryError)
        return (UsageError if wrong_path else SqueezeNetError)(f"{where}{error.strerror or error}")
    return None


if __name__ == "__main__":
    raise SystemExit(main())
