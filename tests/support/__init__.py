"""What the tests of several rooms share."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The project's folder."""
GOLDEN = ROOT / "tests" / "golden"
SHARED = ROOT.parent / "shared"
"""Real data; tests that need it are skipped where it does not exist."""
