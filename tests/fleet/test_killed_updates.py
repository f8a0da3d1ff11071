"""The update client is killed at random moments: a model always works, and updates are completed."""

import os
import re
import subprocess
import sys

import pytest

pytest.importorskip("tuf", reason="needs the extra [fleet]")
pytest.importorskip("cryptography", reason="needs the extra [publish]")
if not hasattr(os, "fork"):
    pytest.skip("this system cannot fork", allow_module_level=True)

from squeezenet.fleet import client
from support import ROOT
from support.fleet import NOW, Files, enrolled, new_publisher, publish, small_model


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.long)])
def test_kills(tmp_path, count):
    folder = new_publisher(tmp_path / "birds", small_model(0))
    client.update(enrolled(tmp_path / "car", folder), mirror=Files(folder), now=NOW)
    publish(folder, small_model(3))
    script = [sys.executable, str(ROOT / "tests/support/kills.py"), str(tmp_path), str(count)]
    threads = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(script, env={**os.environ, **threads}, capture_output=True, text=True, timeout=590)
    assert done.returncode == 0, done.stderr
    assert int(re.search(r"'killed': (\d+)", done.stdout)[1]) == count
    assert int(re.search(r"'completed': (\d+)", done.stdout)[1]) > 0
