"""The verb `compress`: what it leaves untouched, what a stopped run keeps, how long it will take, what it warns of."""

import io
import os
import signal
import subprocess
import sys
import time
from argparse import ArgumentParser

import pytest
import torch

from squeezenet import sqz
from squeezenet.cli import compress, remaining
from squeezenet.cli.main import main
from squeezenet.cli.work_folder import MARK, work_folder
from squeezenet.compression.low_rank import RANK_WORDS
from squeezenet.compression.recipe import DENSITY_WORDS
from squeezenet.data import load_data, load_pixels
from squeezenet.errors import UsageError

TO_LOSS = ["--method", "squeeze", "--max-loss", "60", "--data", "digits", "--limit", "64"]


@pytest.fixture
def tiny(tiny_model, tmp_path):
    """Path of a .sqz for digits."""
    path = tmp_path / "model.sqz"
    sqz.write(tiny_model, path)
    return path


# Somebody else's files


def test_a_work_folder_of_somebody_else_stays(tiny, tmp_path, capsys):
    out, work = tmp_path / "s.sqz", tmp_path / "s.sqz.work"
    work.mkdir()
    (work / "thesis.txt").write_text("three years")
    assert main(["compress", str(tiny), "--max-bytes", "5k", "--out", str(out)]) == 2
    assert str(work) in capsys.readouterr().err
    assert (work / "thesis.txt").read_text() == "three years"
    assert not out.exists()


@pytest.mark.parametrize("dangling", [False, True])
def test_a_link_is_not_followed(tmp_path, dangling):
    theirs, work = tmp_path / "theirs", tmp_path / "s.sqz.work"
    if not dangling:
        theirs.mkdir()
        (theirs / MARK).touch()
    work.symlink_to(theirs)
    with pytest.raises(UsageError, match=r"s\.sqz\.work"), work_folder(work):
        pass
    assert work.is_symlink()
    assert theirs.exists() is not dangling


def test_a_link_inside_is_removed_alone(tmp_path):
    theirs, work = tmp_path / "theirs", tmp_path / "s.sqz.work"
    theirs.mkdir()
    (theirs / "a").touch()
    with work_folder(work):
        (work / "link").symlink_to(theirs)
    assert not work.exists()
    assert (theirs / "a").exists()


def test_a_work_folder_is_kept_if_there_is_something_to_go_on_from(tmp_path):
    work = tmp_path / "s.sqz.work"

    def fail(left):
        with work_folder(work):
            if left:
                (work / "half").touch()
            raise ZeroDivisionError

    for left in (False, True):
        with pytest.raises(ZeroDivisionError):
            fail(left)
        assert work.exists() is left
    with work_folder(work):
        assert (work / "half").exists()
    assert not work.exists()


def test_a_file_of_somebody_else_is_not_replaced(tiny, tmp_path, capsys):
    out = tmp_path / "s.sqz"
    out.write_text("not a model")
    command = ["compress", str(tiny), "--max-bytes", "5k", "--out", str(out)]
    assert main(command) == 2
    assert "--force" in capsys.readouterr().err
    assert out.read_text() == "not a model"
    assert main([*command, "--force"]) == 0
    assert sqz.read(out).scales
    assert main(command) == 0  # now it is ours


# Stopped


@pytest.fixture
def hears_ctrl_c():
    """A shell that starts the tests in the background tells them to ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("hears_ctrl_c")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_search_keeps_what_it_has_and_goes_on(tiny, tmp_path, capsys, monkeypatch, how):
    out, work, judged = tmp_path / "s.sqz", tmp_path / "s.sqz.work", []
    top1 = compress._top1

    def judge(model, *rest, **options):
        judged.append(model)
        if len(judged) == 5:  # the network before, twice, and two sizes that were accurate enough
            signal.raise_signal(how)
        return top1(model, *rest, **options)

    command = ["compress", str(tiny), "--out", str(out), *TO_LOSS]
    monkeypatch.setattr(compress, "_top1", judge)
    assert main(command) == 130
    said = capsys.readouterr().err.splitlines()
    assert sum("accurate enough" in line and "left" in line for line in said[:-1]) == 2
    assert said[-1].startswith(f"squeezenet compress: interrupted; {out} is the smallest that was accurate enough")
    assert f"{out.stat().st_size:,} bytes" in said[-1]
    assert f"goes on from {work}" in said[-1]
    assert sqz.read(out).scales
    kept = {path: path.stat().st_mtime_ns for path in work.rglob("*.sqz")}
    assert len(kept) == 3

    judged.clear()

    def good_at_first(model, *rest, **options):
        judged.append(model)
        return 90.0 if len(judged) <= 5 else 10.0

    monkeypatch.setattr(compress, "_top1", good_at_first)
    before = [path.read_bytes() for path in kept]
    monkeypatch.setattr("shutil.rmtree", lambda *rest, **options: None)
    assert main(command) == 0
    assert f"goes on from what is in {work}" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in kept} == kept  # read, not made again
    assert [sqz.encode(model) for model in judged[2:5]] == sorted(before, key=len, reverse=True)


# How long it takes


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("terminal", [True, False])
def test_one_estimate_of_the_time_that_is_left(monkeypatch, terminal):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(sys, "stderr", Terminal() if terminal else io.StringIO())
    with remaining.Remaining("squeezing") as left:
        left.update(0.0, 4.0, "rounding")
        for done in range(1, 4):
            now[0] += 30
            left.update(done, 4.0, "rounding")
        text = sys.stderr.getvalue()
        assert "squeezing: 25% done, about 1:30 left (rounding)" in text
        assert "squeezing: 75% done, about 0:30 left (rounding)" in text
        left.update(3.0, 6.0)  # more is to come than was known
        assert left.estimate() == "50% done, about 1:30 left"
    assert ("\r" in text) is terminal
    assert text.count("\n") == (0 if terminal else 3)


def test_the_estimate_begins_anew_where_nothing_was_known(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    left = remaining.Remaining("squeezing")
    assert left.estimate() == "just begun"
    left.update(0.0, 0.0, "rounding")
    now[0] = 500.0
    left.update(0.0, 2.0)
    now[0] = 510.0
    left.update(0.5, 2.0)
    assert left.estimate() == "25% done, about 0:30 left"


# What is asked


def test_few_images_cannot_judge_half_a_point(tiny, tmp_path, capsys):
    pytest.importorskip("sklearn")
    from squeezenet.data import load_data, load_pixels

    model = sqz.read(tiny)
    held_out = load_data("digits").validation
    for count, warned in ((30, True), (359, True), (None, False)):
        pixels = load_pixels(held_out, model.preparation, count)
        compress._warn_of_few(pixels, 0.5 if warned else 60.0)
        said = capsys.readouterr().err
        assert bool(said) is warned
        if count == 30:
            assert "one image is 3.3 points" in said


def test_help_names_every_word_that_an_option_takes():
    parser = ArgumentParser()
    compress.configure(parser)
    text = " ".join(parser.format_help().split())
    for word in (*RANK_WORDS, *DENSITY_WORDS):
        assert word in text
    options = {group.title: len(group._group_actions) for group in parser._action_groups}
    assert all(count <= 5 for title, count in options.items()), options


@pytest.mark.parametrize("method", ["sqeeze", "svd+prun", "deep-compresion"])
def test_a_method_that_is_mistyped_is_suggested(tiny, tmp_path, capsys, method):
    assert main(["compress", str(tiny), "--method", method, "--out", str(tmp_path / "s.sqz")]) == 2
    assert "did you mean" in capsys.readouterr().err


def test_the_verb_loads_no_workshop_before_it_runs():
    code = """
import sys
import squeezenet.cli.compress
from squeezenet.cli.extras import modules
print(sorted(modules("train") & set(sys.modules)))
assert len(modules("train")) > 8
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "[]"


# Another device


def test_floats_are_judged_on_the_device_that_there_is(tiny, monkeypatch):
    model, asked = sqz.read(tiny), []
    data = load_data("digits", None, 0)
    pixels = load_pixels(data.validation, model.preparation, 100)
    found = compress._top1_of_floats(model, pixels)

    def another():
        asked.append(1)
        return torch.device("cpu", 0)  # which is no `torch.device("cpu")`

    monkeypatch.setattr("squeezenet.training.surroundings.usual_device", another)
    assert compress._top1_of_floats(model, pixels) == found
    assert asked == [1]
    assert compress._top1_of_floats(model, None) is None
