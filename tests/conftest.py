"""Shared fixtures: where the optional real data lies, and small models built by hand."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data; tests that need it are skipped where it does not exist."""
    if not SHARED.is_dir():
        pytest.skip("../shared does not exist here")
    return SHARED
