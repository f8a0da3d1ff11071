"""The argument parser of one verb: its help has groups and examples, and a mistake becomes one line.

>>> parser = Parser("squeezenet evaluate", description="Accuracy.", epilog="examples:\\n  squeezenet evaluate run")
>>> _ = parser.add_argument("model", metavar="MODEL")
>>> _ = parser.add_argument("--data", required=True, metavar="DATA")
>>> parser.format_help().splitlines()[0]
'usage: squeezenet evaluate MODEL --data DATA [options]'
"""

import os
import sys
from argparse import Action, ArgumentParser, HelpFormatter
from collections.abc import Sequence
from typing import Any, NoReturn

from squeezenet.cli.arguments import number, whole
from squeezenet.errors import UsageError

INDENT = 26  # columns before the explanation of an option


class Parser(ArgumentParser):
    """Takes options by their whole name only: a script must not change its meaning when an option is added."""

    def __init__(self, prog: str, **about: Any) -> None:
        super().__init__(prog, allow_abbrev=False, add_help=False, formatter_class=_formatter, **about)
        self.register("type", int, whole)  # our error messages for `type=int` and `type=float`
        self.register("type", float, number)
        self._positionals.title = "arguments"
        self.given: list[str] = []

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        self.given = list(args)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Raise `UsageError` with argparse's message in our words."""
        from squeezenet.cli.mistakes import explained

        raise UsageError(f"{explained(message, self.given, self._option_string_actions)} ({self.prog} --help)")

    def format_help(self) -> str:
        """The help; its first line names only the required arguments."""
        from textwrap import fill

        exclusive = [group for group in self._mutually_exclusive_groups if group.required]
        needed = [_spelled(action) for action in self._actions if action.required or not action.option_strings]
        choices = [f"({' | '.join(map(_spelled, group._group_actions))})" for group in exclusive]
        words = " ".join([self.prog, *needed, *choices, "[options]"])
        usage = fill(f"usage: {words}", 78, subsequent_indent=" " * 7, break_on_hyphens=False)
        self.usage = usage.removeprefix("usage: ").replace("%", "%%")
        return super().format_help()


class Formatter(HelpFormatter):
    """Keeps the line breaks of a text of several lines: the examples."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if "\n" in text else super()._fill_text(text, width, indent)


def add_common(parser: ArgumentParser) -> None:
    """Add the options that every verb takes."""
    common = parser.add_argument_group("options of every verb")
    common.add_argument("--json", action="store_true", help="print exactly one JSON object on stdout")
    common.add_argument("--debug", action="store_true", help="show the traceback of an error")
    common.add_argument("-h", "--help", action="help", help="show this help")


def _formatter(prog: str) -> HelpFormatter:
    """A formatter with the width of the terminal. argparse would import `shutil`, which loads three decompressors."""
    columns = os.get_terminal_size().columns if sys.__stdout__ and sys.__stdout__.isatty() else 80
    return Formatter(prog, width=columns - 2, max_help_position=INDENT)


def _spelled(action: Action) -> str:
    """An argument as a user types it: `--out F.sqz`, `IMAGE...`."""
    value = action.metavar or ("|".join(map(str, action.choices)) if action.choices else action.dest.upper())
    many = "..." if action.nargs in ("+", "*") else ""
    words: Sequence[str] = [*action.option_strings[-1:], *([] if action.nargs == 0 else [f"{value}{many}"])]
    return f"[{words[0]}]" if action.nargs == "?" else " ".join(words)
