"""Which boards can take a network, as `inspect` says before an export (whether it is true: test_exported_c.py)."""

import json
import re
from dataclasses import replace

import pytest

from squeezenet import sqz, zoo
from squeezenet.cli.main import main
from squeezenet.export.c import beforehand
from squeezenet.export.c.board import BOARDS
from squeezenet.export.c.fit import Bytes, fitted
from squeezenet.runtime.engine import PATHS
from support.engine_networks import NETWORKS

DIGITS = zoo.find("digits")

pytestmark = pytest.mark.skipif(not PATHS, reason="the C engine is not built")


@pytest.mark.parametrize(
    ("ram", "flash", "fits", "reason"),
    [
        (65536, 1 << 20, "yes", ""),
        (65536, 180_000, "yes", ""),  # packed
        (65536, 120_000, "perhaps", "export finds out"),
        (65536, 40_000, "no", r"takes at least about 4\d,\d{3} bytes of flash"),
        (8192, 1 << 20, "no", r"takes at least about 1\d,\d{3} bytes of RAM"),
        (8192, 4096, "no", r"takes at least about 1\d,\d{3} bytes of RAM and 4\d,\d{3} bytes of flash"),
    ],
)
def test_a_board_fits_or_not_or_only_export_finds_out(
    ram: int, flash: int, fits: str, reason: str, monkeypatch
) -> None:
    board = replace(BOARDS["lm3s6965evb"], ram=ram, flash=flash)
    monkeypatch.setattr(beforehand, "BOARDS", {"host": BOARDS["host"], "small": board})
    model = sqz.read(DIGITS)
    (found,) = beforehand.verdicts(DIGITS.read_bytes(), model)
    assert (found.board, found.fits) == ("small", fits)
    assert re.fullmatch(reason, found.reason)
    if fits == "yes":
        fitted(model, board, Bytes(ram, flash), False, lambda plan: pytest.fail("there is no compiler"))


def test_no_plan_is_made_of_a_very_large_network(monkeypatch, capsys) -> None:
    monkeypatch.setattr(beforehand, "MOST_STEPS", 500)
    assert beforehand.verdicts(DIGITS.read_bytes(), sqz.read(DIGITS)) == []
    assert main(["inspect", "digits"]) == 0
    assert "boards for --to c" not in capsys.readouterr().out


def test_inspect_names_the_boards(tmp_path, capsys) -> None:
    assert main(["inspect", "digits"]) == 0
    assert "boards for --to c: netduinoplus2, lm3s6965evb, mps3-an547, riscv32\n" in capsys.readouterr().out
    assert main(["inspect", "imagenet", "--json"]) == 0
    boards = json.loads(capsys.readouterr().out)["boards"]
    assert {name: board["fits"] for name, board in boards.items()} == {
        "netduinoplus2": "yes", "lm3s6965evb": "no", "mps3-an547": "perhaps", "riscv32": "yes",
    }  # fmt: skip
    floats = tmp_path / "floats.sqz"
    sqz.write(NETWORKS["fire"]().dequantised(), floats)
    assert main(["inspect", str(floats)]) == 0
    assert "boards for --to c" not in capsys.readouterr().out
