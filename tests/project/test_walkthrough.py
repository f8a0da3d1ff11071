"""The README's walk-through from photographs to an app, run as a reader would type it."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support import ROOT

BLOCK = re.compile(r"^```(console|python) walkthrough\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MODULE = [sys.executable, "-m", "squeezenet"]


def test_the_first_example_shows_what_the_command_prints() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    command, shown = re.search(r"^\$ (squeezenet classify .*)\n((?:.+\n)+)```", readme, re.MULTILINE).groups()
    done = subprocess.run([*MODULE, *shlex.split(command)[1:]], cwd=ROOT, capture_output=True, text=True, check=True)
    assert without_milliseconds(done.stdout) == without_milliseconds(shown)


@pytest.mark.slow
def test_the_walkthrough_makes_an_app_from_photographs(tmp_path: Path) -> None:
    blocks = BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    assert [kind for kind, _ in blocks] == ["console"] * 4 + ["python"]
    photographs(tmp_path)
    printed = ""
    for kind, text in blocks:
        if kind == "python":
            printed = run([sys.executable, "-c", text], tmp_path)
            continue
        for line in text.splitlines():
            verb, *arguments = shlex.split(line)
            assert verb == "squeezenet"
            printed = run([*MODULE, *arguments], tmp_path)
    assert re.fullmatch(r"robin: \d+%\n", printed)
    assert (tmp_path / "birds.sqz").stat().st_size <= 300_000
    assert "<html" in (tmp_path / "run.html").read_text(encoding="utf-8")


def run(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


def photographs(folder: Path) -> None:
    """Two classes that an ImageNet network tells apart after a few steps, and one new photograph of the first."""
    random = np.random.default_rng(0)
    for name, colour in (("robin", (200, 70, 30)), ("wren", (60, 90, 160))):
        (folder / "photos" / name).mkdir(parents=True)
        for number in range(6):
            photograph(random, colour).save(folder / "photos" / name / f"{number}.jpg")
    photograph(random, (200, 70, 30)).save(folder / "new.jpg")


def photograph(random: np.random.Generator, colour: tuple[int, int, int]) -> Image.Image:
    """Noise around a colour, coarse enough to survive a JPEG."""
    noise = random.normal(0, 30, (24, 32, 3)) + colour
    return Image.fromarray(noise.clip(0, 255).astype(np.uint8)).resize((320, 240), Image.Resampling.BICUBIC)


def without_milliseconds(text: str) -> str:
    return re.sub(r"[\d.]+ ms", "… ms", text).strip()
