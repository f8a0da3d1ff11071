"""The command as a process: what is decoded before the command line is read, and what a process imports for it."""

import json
import os
import subprocess
import sys

import pytest

import squeezenet
from squeezenet import zoo
from squeezenet.cli import start
from squeezenet.runtime.engine import PATHS
from support.commands import picture


@pytest.mark.parametrize(
    ("arguments", "model"),
    [
        (["a.jpg"], "imagenet"),
        (["--model", "digits", "a.jpg"], "digits"),
        (["--model=digits", "a.jpg", "--model", "cifar10"], "cifar10"),
        (["a.jpg", "--threads", "2"], "imagenet"),
    ],
)
def test_the_model_is_known_before_the_command_line_is_read(arguments, model):
    assert start.probable_model(arguments) == str(zoo.find(model))


def test_a_file_is_its_own_name(tmp_path):
    (tmp_path / "birds").touch()
    for name in (str(tmp_path / "birds"), "gone.sqz"):
        assert start.probable_model(["a.jpg", "--model", name]) == name


@pytest.mark.parametrize("arguments", [["--help"], ["a.jpg", "-h"], ["--threads", "1", "a.jpg"], ["--threads=1"]])
def test_nothing_is_decoded_for_help_or_for_one_thread(arguments):
    assert start.probable_model(arguments) is None


def test_the_default_is_that_of_the_zoo():
    assert start.DEFAULT == zoo.DEFAULT
    assert start.probable_model(["a.jpg", "--model"]) == zoo.default_model()


@pytest.mark.skipif(not PATHS, reason="the C engine was not built here")
def test_the_decoding_waits_for_few_imports():
    """Neither for those of the command line nor for those of images."""
    code = "import sys; from squeezenet.cli import start; from squeezenet.sqz import ahead; print(*sys.modules)"
    source = os.path.dirname(os.path.dirname(squeezenet.__file__))
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.append({source!r}); {code}"]
    modules = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert not {"typing", "re", "argparse", "pathlib", "contextlib", "PIL", "json"} & set(modules)
    ours = {name.removeprefix("squeezenet.") for name in modules if name.startswith("squeezenet.")}
    assert ours == {"version", "cli", "cli.cores", "cli.start", "limits", "sqz", "sqz.ahead"}


@pytest.mark.parametrize("arguments", [("--model", "digits"), ("--model=cifar10", "--threads", "1"), ("--model", "x")])
def test_the_process_answers_as_the_function_does(tmp_path, arguments):
    image = picture(tmp_path / "a.png")
    given = ["classify", *arguments, str(image), "--json"]
    code = "import sys; from squeezenet.cli.main import main; sys.exit(main(sys.argv[1:]))"
    found, expected = (
        subprocess.run([sys.executable, *how, *given], capture_output=True, text=True, check=False)
        for how in (["-m", "squeezenet"], ["-c", code])
    )
    assert (found.returncode, found.stderr) == (expected.returncode, expected.stderr)
    if found.stdout:
        answers = [json.loads(done.stdout) for done in (found, expected)]
        assert [answer.pop("milliseconds") > 0 for answer in answers] == [True, True]
        assert answers[0] == answers[1]
