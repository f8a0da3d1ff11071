"""A file that is decoded ahead is taken by who needs the same bytes, and by no one else."""

from pathlib import Path

import pytest

from squeezenet import zoo
from squeezenet.errors import NotSqz
from squeezenet.runtime.engine import PATHS, EngineRunner
from squeezenet.sqz import ahead

pytestmark = pytest.mark.skipif(not PATHS, reason="the C engine was not built here")


def test_the_same_bytes_are_decoded_once() -> None:
    path = zoo.find("digits")
    ahead.begin(path, 1)
    begun = ahead._begun[0]
    runner = EngineRunner(path.read_bytes(), 2)
    assert runner._network is begun.network
    assert not ahead.is_begun()
    other = EngineRunner(path.read_bytes(), 2)
    assert other._network is not begun.network
    assert other.labels == runner.labels


def test_other_bytes_and_damage_do_not_matter(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.sqz"
    damaged.write_bytes(b"no model")
    for path in (zoo.find("cifar10"), damaged, tmp_path / "gone.sqz"):
        ahead.begin(path, 1)
        assert EngineRunner(zoo.find("digits").read_bytes()).classes == 10
    ahead.begin(damaged, 1)
    with pytest.raises(NotSqz):
        EngineRunner(damaged.read_bytes())
    assert not ahead.is_begun()
