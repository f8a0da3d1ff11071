"""A small model in a file, and verbs that succeed or fail."""

import json

import pytest

from squeezenet import sqz
from squeezenet.cli.main import main


@pytest.fixture(scope="module")
def tiny(tiny_model, tmp_path_factory):
    """Path of a .sqz for digits."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.sqz"
    sqz.write(tiny_model, path)
    return str(path)


@pytest.fixture
def said(capsys):
    """Run a verb that succeeds; the JSON object it prints."""

    def run(*arguments):
        assert main([*map(str, arguments), "--json"]) == 0
        out, err = capsys.readouterr()
        assert not err or "--max-loss" in arguments  # else progress goes to terminals only
        assert out.count("\n") == 1
        return json.loads(out)

    return run


@pytest.fixture
def refused(capsys):
    """Run a verb that fails: exit code and its one line."""

    def run(*arguments):
        code = main([*map(str, arguments)])
        out, err = capsys.readouterr()
        assert out == ""
        assert "Traceback" not in err
        lines = err.splitlines()
        assert len(lines) == 1
        assert lines[-1].startswith("squeezenet")
        return code, lines[-1]

    return run
