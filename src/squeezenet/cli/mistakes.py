"""One line that says what is wrong with a command, with a suggestion.

Imported only after a mistake, because importing `difflib` takes as long as classifying an image.

>>> explained("unrecognized arguments: --epoch 5", ["--epoch", "5"], ["--epochs", "--out"])
'unknown option --epoch; did you mean --epochs?'
>>> explained("the following arguments are required: MODEL, --out", [], [])
'MODEL and --out missing'
"""

import os
import re
import shlex
from collections.abc import Callable, Collection, Iterable, Sequence
from difflib import get_close_matches

NUMBER = re.compile(r"-\.?[0-9]")
KINDS: Sequence[tuple[str, Callable[[re.Match[str]], str]]] = (
    (r"the following arguments are required: (.*)", lambda m: f"{_listed(m[1].split(', '))} missing"),
    (r"one of the arguments (.*) is required", lambda m: f"{_listed(m[1].split(), 'or')} missing"),
    (r"argument (\S+): expected .*", lambda m: f"{m[1]} needs a value"),
    (r"argument (\S+): not allowed with argument (.*)", lambda m: f"{m[1]} and {m[2]}: leave one of the two out"),
    (r"argument (\S+): ignored explicit argument (.*)", lambda m: f"{m[1]} takes no value"),
    (r"argument (\S+): invalid choice: (.*) \(choose from (.*)\)", lambda m: f"{_option(m[1])}{_chosen(m[2], m[3])}"),
    (r"argument (\S+): (.*)", lambda m: f"{_option(m[1])}{m[2]}"),
    (r"unrecognized arguments: (.*)", lambda m: f"{m[1]}: one argument too many; leave it out"),
)
"""Message of argparse -> ours. A message that matches none, as of another version of argparse, stays as it is."""


def explained(message: str, given: Sequence[str], options: Collection[str]) -> str:
    """argparse's `message` in our words; or which word of `given` looks like an option and is none of `options`."""
    unknown = _unknown(given, options)
    if unknown is not None:
        return f"unknown option {unknown}{suggestion(unknown, options)}"
    for pattern, meaning in KINDS:
        if match := re.fullmatch(pattern, message, re.DOTALL):
            return meaning(match)
    return message


def explained_verb(arguments: Sequence[str], verbs: Collection[str]) -> str:
    """What is wrong with a command whose first word is none of the `verbs`."""
    word = arguments[0]
    later = next((other for other in arguments if other in verbs), None)
    if later is not None:
        return f"the verb comes first: squeezenet {later} ..."
    if word.startswith("-"):
        return f"unknown option {word}{suggestion(word, ('--help', '--version'))}"
    near = suggestion(word, verbs)
    if not near and os.path.isfile(word):
        return f"{word} is a file, not a verb; did you mean: squeezenet classify {shlex.quote(word)}"
    return f"no verb is called {word}{near}"


def suggestion(word: str, known: Iterable[str]) -> str:
    """`; did you mean ...?`, or nothing where no known word is near."""
    known = list(known)
    near = [other for other in known if len(word) > 3 and other.startswith(word)] or get_close_matches(word, known, 1)
    return f"; did you mean {near[0]}?" if near else ""


def _unknown(given: Sequence[str], options: Collection[str]) -> str | None:
    """The first word that looks like an option and is none."""
    for word in given:
        if word == "--":
            return None
        name = word.partition("=")[0]
        if len(word) > 1 and word[0] == "-" and " " not in word and not NUMBER.match(word) and name not in options:
            return name
    return None


def _option(name: str) -> str:
    return f"{name} " if name.startswith("-") else ""


def _chosen(quoted: str, choices: str) -> str:
    word, known = quoted.strip("'\""), [choice.strip(" '\"") for choice in choices.split(",")]
    return f"{word}: {(suggestion(word, known) or '; it is one of ' + ', '.join(known))[2:]}"


def _listed(words: Sequence[str], last: str = "and") -> str:
    return f" {last} ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]
