"""The command line: one verb a job. `squeezenet VERB --help` says what each takes.

A verb is a module with `configure(parser)`, `run(args) -> dict` (the JSON object), `render(result) -> str` and
`EXAMPLES`: commands that its help shows, each below a comment that says what it does. Only the chosen verb's module is
imported, and what needs an extra or time to load is imported in `run`: `--help` works at once in every installation.
Strings reach `render` printable: a label, a path or a server's reply cannot move the cursor or add a line.
"""

import gc
import io
import os
import sys
import warnings
from argparse import Namespace
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

from squeezenet.cli.parser import Parser
from squeezenet.errors import MissingDependency, SqueezeNetError, UsageError
from squeezenet.printable import harmless, printable
from squeezenet.version import __version__

VERBS = {
    "demo": "train, squeeze and use a small network, in about a minute",
    "train": "train a network; resumes where a run stopped",
    "evaluate": "accuracy of exactly what would ship",
    "classify": "label images",
    "compress": "squeeze a model into one .sqz file",
    "inspect": "every layer's shape, parameters, density, bits and bytes",
    "explore": "search the design space: accuracy against bytes, MACs and RAM",
    "reproduce": "what the paper printed, and beside it what comes out here",
    "convert": "read and write other people's model files",
    "data": "pack images into shards that train fast",
    "models": "what ships, what can be pulled, what can be trained",
    "pull": "fetch published weights, once",
    "doctor": "check this installation",
}

WORKSHOP = {
    "torch", "safetensors", "datasets", "pyarrow", "sklearn", "tensorboard", "matplotlib", "tqdm", "msgspec", "tomli_w",
}  # fmt: skip
EXTRAS = {"optuna": "explore", "numpy": "numpy"}
ARRAYS = {"classify", "inspect"}
"""Verbs that need NumPy at most; the others need what trains as well."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 failed, 2 wrong usage."""
    if argv is None:
        _speak_plainly()
    chosen, *arguments = list(sys.argv[1:] if argv is None else argv) or [""]
    if chosen == "help" and arguments:
        chosen, arguments = arguments[0], ["--help"]
    if chosen not in VERBS:
        return _without_verb([chosen, *arguments])
    args = Namespace(debug="--debug" in arguments)  # until they are parsed
    try:
        verb = _load(chosen)
        args = _parser(chosen, verb).parse_args(arguments)
        result = verb.run(args)
        if result.get("rank", 0) == 0:  # of several processes, one speaks
            _say(_json(result) if args.json else verb.render(harmless(result)))
        return 1 if result.get("failed") else 0  # of several images, those that cannot be read
    except KeyboardInterrupt as stop:  # which may say what is kept
        print(f"squeezenet {chosen}: {_one_line(str(stop)) or 'interrupted'}", file=sys.stderr)
        return 130
    except (SqueezeNetError, ImportError, OSError, MemoryError) as error:
        if args.debug:
            raise
        known = _explain(error, getattr(args, "out", None), chosen)
        if known is None:
            raise
        print(f"squeezenet {chosen}: {_one_line(str(known))}", file=sys.stderr)
        return known.exit_code


def _parser(name: str, verb: ModuleType) -> Parser:
    summary = VERBS[name]
    examples = "\n".join(["examples:", *(f"  {line}" for line in verb.EXAMPLES.strip().splitlines())])
    parser = Parser(f"squeezenet {name}", description=f"{summary[0].upper()}{summary[1:]}.", epilog=examples)
    verb.configure(parser)
    common = parser.add_argument_group("of every verb")
    common.add_argument("--json", action="store_true", help="print exactly one JSON object on stdout")
    common.add_argument("--debug", action="store_true", help="show the traceback of an error")
    common.add_argument("-h", "--help", action="help", help="show this help")
    return parser


def _load(name: str) -> ModuleType:
    _share_cores(name)
    if name == "classify":  # which is over before collecting what its imports make would pay
        gc.set_threshold(100_000)
    if name != "classify":  # which logs nothing, and saves the time
        import logging

        logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it tells where no home folder is, of no use here
        logging.lastResort.format = lambda record: f"squeezenet: {_one_line(record.getMessage())}"
    return import_module(f"squeezenet.cli.{name}")


def _without_verb(arguments: list[str]) -> int:
    """The overview, the version, or what is wrong with the first word."""
    if arguments[0] in ("", "-h", "--help", "help"):
        from squeezenet.cli.overview import overview

        _say(overview(VERBS))
        return 0
    if arguments[0] in ("-V", "--version"):
        _say(f"squeezenet {__version__}")
        return 0
    from squeezenet.cli.mistakes import explained_verb

    print(printable(f"squeezenet: {explained_verb(arguments, VERBS)} (squeezenet --help)"), file=sys.stderr)
    return UsageError.exit_code


def _say(text: str) -> None:
    """Print on stdout. A reader that has left is no failure to report. Raises `SqueezeNetError` for a full disk."""
    try:
        print(text, flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python tries once more as it leaves
        if isinstance(error, BrokenPipeError):
            raise SystemExit(1) from None
        raise SqueezeNetError(f"standard output: {error.strerror}; the command itself is done") from None


def _speak_plainly() -> None:
    """What no encoding of the terminal can show becomes an escape; a warning of a library one harmless line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    warnings.showwarning = _warned


def _warned(message: Warning | str, *where: Any) -> None:
    if sys.stderr is not None:
        print(f"squeezenet: {_one_line(str(message))}", file=sys.stderr)


def _one_line(text: str) -> str:
    return printable(" ".join(text.split()))


def _json(result: dict[str, Any]) -> str:
    """One line of JSON, in ASCII. A number that JSON cannot write (NaN, an infinity) is null."""
    import json

    try:
        return json.dumps(result, allow_nan=False)
    except ValueError:
        return json.dumps(json.loads(json.dumps(result), parse_constant=lambda name: None), allow_nan=False)


def _share_cores(verb: str) -> None:
    """Settings that libraries read when they are loaded, so this runs before any verb imports them.

    PyTorch's threads spin while they wait, which on two busy cores made a training step 16 times slower. OpenBLAS's do
    too: products of matrices take one thread each, and images are shared out instead. `classify` has one image at a
    time to work on and keeps its threads.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if verb != "classify":
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def _explain(error: BaseException, out: Any = None, verb: str = "") -> SqueezeNetError | None:
    """The one line a user needs, or None where the error is a fault of ours that a traceback must show.

    `out` is what the `verb` writes: what a full disk is about, where the error itself does not say.
    """
    if isinstance(error, SqueezeNetError):
        return error
    if isinstance(error, ImportError):
        missing = (error.name or "").split(".")[0]
        first = missing == "numpy" and verb not in ARRAYS  # of many that are missing
        extra = "train" if first or missing in WORKSHOP else EXTRAS.get(missing)
        if extra:
            return MissingDependency(f"this needs {missing}; install it with: pip install 'sqznet[{extra}]'")
        return None
    if isinstance(error, MemoryError):
        return SqueezeNetError("not enough memory; try a smaller --batch-size or close other programs")
    if isinstance(error, OSError):
        return _explain_system(error, out)
    return None


def _explain_system(error: OSError, out: Any) -> SqueezeNetError:
    import errno

    said = error.errno is not None and error.strerror == os.strerror(error.errno)  # by the system, not by us
    full = error.errno in (errno.ENOSPC, errno.EDQUOT) or (said and error.errno == errno.EFBIG)
    shut = said and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
    path = error.filename if error.filename is not None else out if full else None
    where = "" if path is None else f"{os.fsdecode(path) if isinstance(path, bytes) else path}: "
    todo = "; make room, or write to another disk" if full else ""
    todo = "; change its permissions, or use another place" if shut else todo
    wrong_path = isinstance(error, FileNotFoundError | FileExistsError | IsADirectoryError | NotADirectoryError)
    return (UsageError if wrong_path else SqueezeNetError)(f"{where}{error.strerror or error}{todo}")


if __name__ == "__main__":
    raise SystemExit(main())
