"""`squeezenet delta` and `squeezenet apply`."""

import json
from pathlib import Path

import pytest

from squeezenet.cli.main import main
from squeezenet.sqz import delta_file
from support import ROOT
from support.commands import python

GOLDEN = ROOT / "tests" / "golden"
OLD, NEW = str(GOLDEN / "operations_integers_v2.sqz"), str(GOLDEN / "delta_v1.sqz")


def test_a_delta_is_made_and_applied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made, again = tmp_path / "p.sqzd", tmp_path / "new.sqz"
    assert main(["delta", OLD, NEW, "--out", str(made), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["bytes"] == made.stat().st_size
    assert told["of_full"] == pytest.approx(told["bytes"] / told["new_bytes"], abs=1e-6)
    assert not told["whole"]
    assert main(["apply", OLD, str(made), "--out", str(again), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sha256"] == told["new_sha256"]
    assert again.read_bytes() == Path(NEW).read_bytes()
    assert main(["delta", OLD, NEW, "--out", str(made)]) == 0  # may be replaced
    assert "% of" in capsys.readouterr().out


@pytest.mark.skipif(not delta_file.HAS_ENGINE, reason="the C engine was not built here")
def test_a_delta_is_applied_without_numpy_and_pillow(tmp_path: Path) -> None:
    code = """
import sys
sys.modules.update(dict.fromkeys(["numpy", "PIL"]))
from squeezenet.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
    out = tmp_path / "new.sqz"
    python(code, "apply", OLD, str(GOLDEN / "delta_v1.sqzd"), "--out", str(out))
    assert out.read_bytes() == Path(NEW).read_bytes()


def test_another_old_file_is_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new.sqz"
    assert main(["apply", NEW, str(GOLDEN / "delta_v1.sqzd"), "--out", str(out)]) == 1
    assert "SHA-256" in capsys.readouterr().err
    assert not out.exists()
    assert main(["apply", OLD, NEW, "--out", str(out)]) == 1
    assert "not a delta" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_file_of_someone_else_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "notes.sqzd"
    out.write_text("mine")
    assert main(["delta", OLD, NEW, "--out", str(out)]) == 2
    assert "--force" in capsys.readouterr().err
    assert out.read_text() == "mine"
