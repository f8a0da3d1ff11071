"""A file that is decoded ahead is taken by who needs the same bytes, and by no one else."""

import os
from pathlib import Path

import pytest

from squeezenet import zoo
from squeezenet.errors import NotSqz
from squeezenet.runtime.engine import PATHS, EngineRunner
from squeezenet.sqz import ahead

pytestmark = pytest.mark.skipif(not PATHS, reason="the C engine was not built here")


def test_the_same_bytes_are_decoded_once() -> None:
    path = zoo.find("digits")
    ahead.begin(str(path), 1)
    begun = ahead._begun[0]
    ahead.begin(str(path), 2)
    assert ahead._begun == [begun]
    runner = EngineRunner(path.read_bytes(), 2)
    assert begun.found is not None
    assert runner._network is begun.found[0]
    assert not ahead._begun
    other = EngineRunner(path.read_bytes(), 2)
    assert other._network is not begun.found[0]
    assert other.labels == runner.labels


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
