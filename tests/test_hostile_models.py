"""Models from strangers: what they say is told in one line, and what they cost follows from the bytes they hold."""

import io
import re
from pathlib import Path

import pytest
from PIL import Image

from hostile import FLATTEN, GLOBAL, ZEROS, conv, image, op, operations, plain, sqz, text
from squeezenet import limits
from squeezenet.cli.main import main
from squeezenet.errors import ModelError
from squeezenet.runtime import Classifier

TWO_LAYERS = image(4) + operations(conv(2), conv(2), op(GLOBAL), op(FLATTEN))


def test_inspect_takes_any_name_of_a_layer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Python refuses to make a number of more than 4,300 digits."""
    path = tmp_path / "digits.sqz"
    path.write_bytes(sqz(TWO_LAYERS, text(["1" * 5000, "layer 12"]), ZEROS * 2))
    assert main(["inspect", str(path)]) == 0
    assert "1" * 90 in capsys.readouterr().out


def test_logits_that_are_no_numbers_are_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = image(4, std=1e-38) + operations(conv(2), conv(2), op(GLOBAL), op(FLATTEN))
    weights = plain([3e38] * 2, [0.0] * 2) + plain([3e38, -3e38, -3e38, 3e38], [0.0] * 2)
    data = sqz(graph, text(["a", "b"]), weights)
    Image.new("L", (4, 4), 200).save(tmp_path / "grey.png")
    with pytest.raises(ModelError, match="values that are not numbers"):
        Classifier(data).classify(tmp_path / "grey.png")
    (tmp_path / "nan.sqz").write_bytes(data)
    command = ["classify", "--model", str(tmp_path / "nan.sqz"), str(tmp_path / "grey.png"), "--json"]
    assert main(command) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert "values that are not numbers" in told.err


def test_figures_show_names_letter_for_letter() -> None:
    figures = pytest.importorskip("squeezenet.report.figures")
    names = ["a$\\foo$b", "$$", "\\$x", "line\nend\x1b[2J", "long" * 5000, "conv1"]
    for figure in (
        figures.layers(names, [1] * 6, [0.5] * 6),
        figures.sensitivity(names, [1] * 6, [0.5] * 6),
        figures.stages(names, [1, 2, 3, 4, 5, 6]),
        figures.sweep(names, {n: ([1.0] * 6, [0.0] * 6) for n in names[:3]}, "x", "y", title=names[0]),
    ):
        figure.savefig(io.BytesIO(), format="svg")


def test_python_and_the_engine_have_the_same_limits() -> None:
    header = (Path(__file__).parent.parent / "engine" / "budget.h").read_text()
    defined = re.findall(r"#define SQZ_((?:MAX|FREE)_\w+|\w+_A_BYTE) (?:\()?UINT\d+_C\((\d+)\)(?: << (\d+)\))?", header)
    assert len(defined) == header.count("#define") - 1 == 16
    for name, number, shift in defined:
        assert getattr(limits, name) == int(number) << int(shift or 0), name
