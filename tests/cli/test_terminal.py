"""What reaches a terminal, whatever its encoding and whatever strangers wrote: lines that show and do nothing."""

import json
import logging
import os
import subprocess
import sys

import pytest

from squeezenet.cli import main as command
from squeezenet.cli.main import main
from squeezenet.errors import ModelError

EVIL = "tabby\x1b]0;title\x07\x1b[2K\r\nmodel: trusted \u202e"


@pytest.fixture
def verb(monkeypatch):
    """Let `squeezenet models` do what a test wants: `run`, and what it shows."""
    from squeezenet.cli import models

    def act(run, render=lambda result: str(result["label"])):
        monkeypatch.setattr(models, "run", run)
        monkeypatch.setattr(models, "render", render)

    return act


def raising(error):
    def run(args):
        raise error

    return run


def process(*words, code=0, **settings):
    done = subprocess.run(
        [sys.executable, "-m", "squeezenet", *words],
        capture_output=True, timeout=100, check=False, env={**os.environ, **settings},
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert b"Traceback" not in done.stderr
    return done


def harmless(text, lines):
    assert text.count("\n") == lines
    assert all(character.isprintable() for line in text.splitlines() for character in line)


def test_a_strangers_text_is_printable(verb, capsys):
    result = {"label": EVIL, "many": [{EVIL: (EVIL,)}]}
    verb(lambda args: result, lambda shown: f"{shown['label']} {shown['many']}")
    assert main(["models"]) == 0
    harmless(capsys.readouterr().out, lines=1)
    assert main(["models", "--json"]) == 0
    out = capsys.readouterr().out
    assert out.isascii()
    assert json.loads(out) == {"label": EVIL, "many": [{EVIL: [EVIL]}]}
    verb(raising(ModelError(EVIL)))
    assert main(["models"]) == 1
    harmless(capsys.readouterr().err, lines=1)


def test_warnings_and_logs_are_one_harmless_line(capsys, monkeypatch):
    command._warned(UserWarning(EVIL), UserWarning, "file.py", 1)
    harmless(capsys.readouterr().err, lines=1)
    monkeypatch.setattr(logging.lastResort, "format", logging.lastResort.format)  # put back at the end
    assert main(["models"]) == 0
    capsys.readouterr()
    record = logging.LogRecord("squeezenet", logging.WARNING, "file.py", 1, "%s", (EVIL,), None)
    harmless(logging.lastResort.format(record), lines=0)


def test_json_knows_no_nan(verb, capsys):
    verb(lambda args: {"top1": float("nan"), "loss": [float("inf"), -float("inf"), 1.5], "label": "NaN"})
    assert main(["models", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"top1": None, "loss": [None, None, 1.5], "label": "NaN"}


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8:strict"])
def test_no_encoding_of_the_terminal_is_a_failure(encoding, tmp_path):
    name = "caf\udce9 \u732b.png"  # Latin-1 bytes, as old archives leave them, and a character beyond cp1252
    done = process("classify", name, code=2, PYTHONIOENCODING=encoding)
    assert done.stderr.count(b"\n") == 1
    done = process("models", "imagenet", PYTHONIOENCODING=encoding)
    assert done.stdout


@pytest.mark.parametrize("words", [["models"], ["--help"], ["train", "--help"], ["classify", "missing.png"]])
def test_docstrings_are_not_needed(words):
    process(*words, code=2 if "missing.png" in words else 0, PYTHONOPTIMIZE="2", PYTHONDONTWRITEBYTECODE="1")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_full_disk_behind_stdout_is_one_line():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "squeezenet", "models"],
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=100,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.startswith(b"squeezenet models: standard output: No space left on device")
    assert done.stderr.count(b"\n") == 1


def test_a_full_disk_names_what_was_being_written(monkeypatch, capsys):
    from squeezenet.cli import demo

    monkeypatch.setattr(demo, "run", raising(OSError(28, "No space left on device")))
    assert main(["demo", "--out", "here"]) == 1
    assert capsys.readouterr().err.startswith("squeezenet demo: here: No space left on device; make room")


def test_an_interrupted_verb_says_so_in_one_line(verb, capsys):
    verb(raising(KeyboardInterrupt()))
    assert main(["models"]) == 130
    assert capsys.readouterr().err == "squeezenet models: interrupted\n"
