"""A file that is decoded ahead is taken by who needs the same bytes, and by no one else."""

import os
from pathlib import Path

import pytest

from squeezenet import zoo
from squeezenet.errors import FormatError, NotSqz
from squeezenet.runtime.engine import PATHS, EngineRunner
from squeezenet.sqz import ahead
from support.damage import repaired

pytestmark = pytest.mark.skipif(not PATHS, reason="the C engine was not built here")


def test_the_same_bytes_are_decoded_once() -> None:
    path = zoo.find("digits")
    ahead.begin(str(path), 1)
    begun = ahead._begun[0]
    ahead.begin(str(path), 2)
    assert ahead._begun == [begun]
    runner = EngineRunner(path.read_bytes(), 2)
    assert runner._network is begun.network
    assert not ahead._begun
    other = EngineRunner(path.read_bytes(), 2)
    assert other._network is not begun.network
    assert other.labels == runner.labels


def test_a_damaged_text_is_told_when_labels_are_needed(tmp_path: Path) -> None:
    whole = bytearray(zoo.find("digits").read_bytes())
    graph, text = (int.from_bytes(whole[at : at + 4], "little") for at in (16, 20))
    whole[24 + graph + text - 3] ^= 255
    damaged = tmp_path / "damaged.sqz"
    damaged.write_bytes(repaired(whole))
    with pytest.raises(FormatError) as expected:
        EngineRunner(damaged.read_bytes())
    ahead.begin(str(damaged), 1)
    runner = EngineRunner(damaged.read_bytes())
    for _ in range(2):
        with pytest.raises(FormatError, match=str(expected.value)):
            runner.labels  # noqa: B018


def test_other_bytes_and_damage_do_not_matter(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.sqz"
    damaged.write_bytes(b"no model")
    pipe = tmp_path / "pipe.sqz"  # of which nobody may read
    os.mkfifo(pipe)
    for path in (zoo.find("cifar10"), damaged, pipe, tmp_path / "gone.sqz"):
        ahead.begin(str(path), 1)
        assert EngineRunner(zoo.find("digits").read_bytes()).classes == 10
    ahead.begin(str(damaged), 1)
    with pytest.raises(NotSqz):
        EngineRunner(damaged.read_bytes())
    assert not ahead._begun
