"""Shared fixtures: where the optional real data lies, and small models built by hand."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import settings

from support import SHARED

# As the command line does, before NumPy and PyTorch are imported: threads that wait must not spin.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

settings.register_profile("patient", deadline=None)  # a busy machine is not a failure
settings.load_profile("patient")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests marked `long` unless `-m` names them, and begin with the files that take longest.

    A long file that began last would leave the other worker without work.
    """
    if "long" not in config.getoption("-m"):
        left_out = [item for item in items if item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path not in slow, item.path.parent.name != "training"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data; tests that need it are skipped where it does not exist."""
    if not SHARED.is_dir():
        pytest.skip("../shared does not exist here")
    return SHARED


@pytest.fixture(autouse=True)
def no_cache(tmp_path_factory, monkeypatch):
    """What someone has pulled must not change what the tests see."""
    monkeypatch.setenv("SQUEEZENET_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="session")
def digits():
    """64 prepared digits and how they were prepared."""
    from squeezenet.data import default_preparation, load_evaluation, load_pixels

    examples = load_evaluation("digits")
    preparation = default_preparation(examples)
    return load_pixels(examples, preparation, limit=64, progress=False), preparation


@pytest.fixture(scope="session")
def tiny_model(digits):
    """A SqueezeNet with two Fire modules for digits; its weights are random."""
    from squeezenet.formats.state_dict import from_module
    from squeezenet.models import create_seeded

    module = create_seeded("squeezenet_32", 0, base_e=16, incr_e=8, sr=0.25, fires=2, classes=10, in_channels=1)
    return from_module(module.eval(), digits[1], tuple("0123456789"), {"name": "tiny"})


@pytest.fixture(scope="session")
def data():
    """The digits, to explore."""
    from squeezenet.data import load_data

    return load_data("digits")


@pytest.fixture(scope="session")
def trial(data):
    """One epoch of a tiny network on 120 digits."""
    from squeezenet.explore.trial import Squeezed, Trial, fingerprint
    from squeezenet.training import MODERN
    from support.exploring import TINY

    recipe = replace(MODERN, epochs=1.0, augmentation=replace(MODERN.augmentation, mirror=False, pad=1))
    return Trial(TINY, 16, recipe, fingerprint(data), 120, 40, Squeezed(max_bytes=3500))


@pytest.fixture(scope="module")
def tiny(tiny_model, tmp_path_factory):
    """Path of a .sqz for digits."""
    from squeezenet import sqz

    path = tmp_path_factory.mktemp("tiny") / "tiny.sqz"
    sqz.write(tiny_model, path)
    return str(path)


@pytest.fixture
def said(capsys):
    """Run a verb that succeeds; the JSON object it prints."""
    from squeezenet.cli.main import main

    def run(*arguments):
        assert main([*map(str, arguments), "--json"]) == 0
        out, err = capsys.readouterr()
        assert not err or {"--max-loss", "--epochs"} & set(arguments)  # else progress goes to terminals only
        assert out.count("\n") == 1
        return json.loads(out)

    return run


@pytest.fixture
def refused(capsys):
    """Run a verb that fails: exit code and its one line."""
    from squeezenet.cli.main import main

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
