"""The command line: `squeezenet VERB ...`, with one module for each verb.

A verb is a module with `configure(parser)`, which adds its arguments; `run(args) -> dict`, the JSON object;
`render(result) -> str`, the text for people; and `EXAMPLES`: the commands that its help shows, each below a comment.
Only the module of the chosen verb is imported, and `run` imports what needs an extra or takes time to load: `--help`
works at once in every installation. Strings are made printable before `render` gets them: a label, a path or the reply
of a server cannot control the terminal.
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

from squeezenet.cli.parser import Parser, add_common
from squeezenet.errors import MissingDependency, SqueezeNetError, UsageError
from squeezenet.printable import harmless, printable
from squeezenet.version import __version__

VERBS = {
    "demo": "train, squeeze and use a small network, in a minute or two",
    "train": "train a network, or continue a stopped run",
    "evaluate": "measure the accuracy of a model",
    "classify": "label images",
    "compress": "squeeze a model into one .sqz file",
    "inspect": "show shape, parameters, density, bits and bytes of every layer",
    "explore": "search for network designs: accuracy against bytes, MACs and RAM",
    "reproduce": "make the paper's tables and figure 3, beside our figures",
    "convert": "convert between .sqz and other model files",
    "export": "write a model for other runtimes: ONNX, C, Verilog",
    "data": "pack images into shards, for faster training",
    "models": "list the included models, those to download, and the networks",
    "pull": "download published weights",
    "delta": "make a small file that turns one .sqz file into another",
    "apply": "make the new .sqz file from the old one and a delta",
    "serve": "label images for other programs, over HTTP",
    "fleet": "publish signed updates of a model, and update devices",
    "doctor": "check this installation",
}

GO_ON = {"serve"}
"""Verbs that print their result and then go on with `afterwards(args)`, until they are stopped."""

ARRAYS = {"classify", "inspect", "delta", "apply", "export"}
"""Verbs that need NumPy at most for a `.sqz` file; the others need what trains as well."""


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
        if chosen in GO_ON:
            verb.afterwards(args)
        if chosen == "classify" and argv is None:
            gc.freeze()  # at its end, Python would look at all objects, several times
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
    add_common(parser)
    return parser


def _load(name: str) -> ModuleType:
    _share_cores(name)
    if name != "classify":  # which logs nothing
        import logging

        logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it tells where no home folder is, of no use here
        plain = lambda record: f"squeezenet: {_one_line(record.getMessage())}"  # noqa: E731
        logging.lastResort.format = plain  # type: ignore[union-attr,method-assign]
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
    """Print on stdout; exit quietly if the reader has closed the pipe. Raises `SqueezeNetError` for a full disk."""
    try:
        print(text, flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python flushes stdout again at exit
        if isinstance(error, BrokenPipeError):
            raise SystemExit(1) from None
        raise SqueezeNetError(f"standard output: {error.strerror}; the command itself is done") from None


def _speak_plainly() -> None:
    """Write what the terminal cannot encode as escapes, and warnings of libraries as one printable line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    warnings.showwarning = _warned  # type: ignore[assignment]


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

    Threads of PyTorch spin while they wait, which on two busy cores made a training step 16 times slower. Those of
    OpenBLAS do too: each product of matrices takes one thread, and images are shared between threads instead.
    `classify` works on one image at a time and keeps the threads of OpenBLAS.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if verb != "classify":
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def _explain(error: BaseException, out: Any = None, verb: str = "") -> SqueezeNetError | None:
    """The error as one line for the user, or None for a fault of ours, which needs a traceback.

    `out` is the file that the `verb` writes: named for a full disk, where the error itself names no file.
    """
    if isinstance(error, SqueezeNetError):
        return error
    if isinstance(error, ImportError):
        from squeezenet.cli.extras import extra_with

        missing = (error.name or "").split(".")[0]
        if extra := extra_with(missing, small=verb in ARRAYS):
            return MissingDependency(f"this needs {missing}; install it with: pip install 'sqznet[{extra}]'")
        return None
    if isinstance(error, MemoryError):
        return SqueezeNetError("not enough memory; use a smaller --batch-size, or close other programs")
    if not isinstance(error, OSError):
        return None
    import errno

    said = error.errno is not None and error.strerror == os.strerror(error.errno)  # raised by the system, not by us
    full = error.errno in (errno.ENOSPC, errno.EDQUOT) or (said and error.errno == errno.EFBIG)
    shut = said and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
    path = error.filename if error.filename is not None else out if full else None
    where = "" if path is None else f"{os.fsdecode(path) if isinstance(path, bytes) else path}: "
    todo = "; make room, or write to another disk" if full else ""
    todo = "; change its permissions, or use another path" if shut else todo
    wrong_path = isinstance(error, FileNotFoundError | FileExistsError | IsADirectoryError | NotADirectoryError)
    return (UsageError if wrong_path else SqueezeNetError)(f"{where}{error.strerror or error}{todo}")


if __name__ == "__main__":
    raise SystemExit(main())
