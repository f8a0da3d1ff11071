"""The command line: one verb a job. `squeezenet VERB --help` says what each takes.

A verb is a module with `configure(parser)`, `run(args) -> dict` (the JSON object) and `render(result) -> str`.
Only the chosen verb's module is imported, so `classify` never pays for what training needs.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

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
EXTRAS = {"optuna": "explore", "numpy": "numpy"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 failed, 2 wrong usage."""
    chosen, *arguments = list(sys.argv[1:] if argv is None else argv) or [""]
    if chosen not in VERBS:
        return _without_verb([chosen, *arguments])
    verb = _load(chosen)
    args = _parser(chosen, verb).parse_args(arguments)
    try:
        result = verb.run(args)
        if result.get("rank", 0) == 0:  # of several processes, one speaks
            print(_json(result) if args.json else verb.render(result), flush=True)
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


def _parser(name: str, verb: ModuleType) -> argparse.ArgumentParser:
    summary = VERBS[name]
    described = f"{summary[0].upper()}{summary[1:]}."
    parser = argparse.ArgumentParser(f"squeezenet {name}", description=described, formatter_class=_formatter)
    verb.configure(parser)
    parser.add_argument("--json", action="store_true", help="print exactly one JSON object on stdout")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _formatter(prog: str) -> argparse.HelpFormatter:
    """Made for every argument, where argparse's own asks `shutil` for the width, which loads three decompressors."""
    columns = os.get_terminal_size().columns if sys.__stdout__ and sys.__stdout__.isatty() else 80
    return argparse.HelpFormatter(prog, width=columns - 2)


def _load(name: str) -> ModuleType:
    _share_cores(name)
    try:
        return importlib.import_module(f"squeezenet.cli.{name}")
    except ImportError as error:
        known = _explain(error)
        if known is None:
            raise
        print(f"squeezenet: {known}", file=sys.stderr)
        raise SystemExit(known.exit_code) from None


def _without_verb(arguments: list[str]) -> int:
    """Help, the version, or what is wrong with the first word."""
    parser = argparse.ArgumentParser(prog="squeezenet", description=__doc__.split("\n")[0])
    parser.add_argument("--version", action="version", version=f"squeezenet {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    for name, summary in VERBS.items():
        verbs.add_parser(name, help=summary)
    parser.parse_args([argument for argument in arguments if argument])
    parser.error("the verb comes first")


def _json(result: dict[str, Any]) -> str:
    import json

    return json.dumps(result)


def _share_cores(verb: str) -> None:
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
        extra = "train" if missing in WORKSHOP else EXTRAS.get(missing)
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
