"""An accuracy with its error, and the page that shows mistakes."""

import numpy as np
import pytest
from PIL import Image

from squeezenet.data import Examples
from squeezenet.data.evaluate import answers
from squeezenet.data.score import score
from squeezenet.preparation import Preparation
from squeezenet.report.accuracy import write_report
from support.photographs import photograph


def test_the_error_of_an_accuracy_is_wilsons():
    assert score(27, 30, 30).error == pytest.approx(11.1, abs=0.1)
    assert score(0, 0, 30).error > 5  # none right is no certainty
    assert score(5000, 5000, 10_000).error == pytest.approx(0.98, abs=0.01)


def test_a_report_escapes_every_text_and_shows_the_worst(tmp_path):
    names = ("<script>alert(1)</script>", "$x$ & \x1b[2K", "plain")
    folder = tmp_path / "<b>"
    folder.mkdir()
    images = []
    for number in range(6):
        photograph(folder, (200, 10, 10), number)
        images.append(folder / f"{number}.png")
    examples = Examples("e", images, np.array([0, 1, 2, 0, 1, 2]), names)
    logits = np.array([[9, 0, 0], [0, 2, 0], [5, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0.5, 0]], np.float32)
    given = answers(lambda batch: logits[: len(batch)], examples, Preparation(16, 16), batch_size=6, progress=False)
    assert given.predicted.tolist() == [0, 1, 0, 0, 1, 1]
    assert given.score.top1 == pytest.approx(100 * 4 / 6)
    write_report(tmp_path / "report.html", "<i>model", given, examples, names, "held out")
    page = (tmp_path / "report.html").read_text()
    assert "<script" not in page
    assert "\x1b" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "&lt;b&gt;/2.png" in page
    assert page.count("<figure>") == 2
    assert page.index("&lt;b&gt;/2.png") < page.index("&lt;b&gt;/5.png")  # the more confident mistake first
    assert "src=" in page
    assert 'src="http' not in page
    write_report(tmp_path / "none.html", "m", take(given, [0, 1]), examples, names, "held out")
    assert "There are none." in (tmp_path / "none.html").read_text()


def take(given, rows):
    return type(given)(*(getattr(given, name)[rows] for name in given.__dataclass_fields__))


def test_many_classes_are_listed_by_their_confusions(tmp_path):
    names = tuple(f"class {i}" for i in range(40))
    examples = Examples("e", [Image.new("RGB", (16, 16))] * 40, np.arange(40), names)
    logits = np.roll(np.eye(40, dtype=np.float32), 1, 1)
    given = answers(lambda batch: logits[: len(batch)], examples, Preparation(16, 16), batch_size=40, progress=False)
    write_report(tmp_path / "report.html", "m", given, examples, names, "all")
    page = (tmp_path / "report.html").read_text()
    assert "Most frequent confusions" in page
    assert "among the first five" in page
