"""Bytes of an update from one squeezed file to another, by several programs.

    pip install bsdiff4 detools          # and Debian's packages zstd and xdelta3
    python benchmarks/fleet.py OLD.sqz NEW.sqz [OLD.sqz NEW.sqz ...] --out fleet.json
    python benchmarks/fleet.py ... --nncodec nncodec/bin/python      # see nncodec_peer.py

All programs get the two files, and what they write is applied and compared with the new file:

- squeezenet: `squeezenet delta`, header with two SHA-256 included;
- zstd: `zstd --ultra -22 --long=31 --patch-from=OLD`; xdelta3: `xdelta3 -e -9 -S lzma -s OLD`; bsdiff4; detools: its
  sequential patches with LZMA, made for embedded devices.

An update also takes signed metadata. A publisher's folder with the old file as release 1 and the new one as release 2
is made, and the column "metadata" has the bytes of the three files that a device fetches: timestamp, snapshot, list of
releases. "gzip": the same if the web server compresses them. "update" is the delta and "gzip", as share of the whole
file.

nncodec gets the differences of the levels of all layers, new minus old, as int32 tensors, and codes them with DeepCABAC
(row skipping, parameter optimisation, the better of two unary lengths). The column "levels" is what the body of our
delta takes for the same: from the old network to the old network with the new levels.

A program that is not installed has no figure.
"""

import argparse
import gzip
import importlib
import io
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from size import Peer, lossless
from squeezenet import sqz
from squeezenet.model import Grid, Model
from squeezenet.sqz import delta

HEADER = 56  # bytes of the header of a delta
ZSTD = ["zstd", "-q", "--ultra", "-22", "--long=31"]


def by_zstd(old: Path, new: Path, patch: Path, again: Path) -> None:
    """Make `patch` and apply it."""
    subprocess.run([*ZSTD, f"--patch-from={old}", str(new), "-o", str(patch)], check=True, capture_output=True)
    subprocess.run(
        ["zstd", "-q", "-d", "--long=31", f"--patch-from={old}", str(patch), "-o", str(again)],
        check=True,
        capture_output=True,
    )


def by_xdelta3(old: Path, new: Path, patch: Path, again: Path) -> None:
    """Make `patch` and apply it."""
    subprocess.run(
        ["xdelta3", "-e", "-9", "-S", "lzma", "-s", str(old), str(new), str(patch)], check=True, capture_output=True
    )
    subprocess.run(["xdelta3", "-d", "-s", str(old), str(patch), str(again)], check=True, capture_output=True)


def by_bsdiff(old: Path, new: Path, patch: Path, again: Path) -> None:
    """Make `patch` and apply it."""
    module = importlib.import_module("bsdiff4")
    patch.write_bytes(module.diff(old.read_bytes(), new.read_bytes()))
    again.write_bytes(module.patch(old.read_bytes(), patch.read_bytes()))


def by_detools(old: Path, new: Path, patch: Path, again: Path) -> None:
    """Make `patch` and apply it."""
    module = importlib.import_module("detools")
    made = io.BytesIO()
    module.create_patch(io.BytesIO(old.read_bytes()), io.BytesIO(new.read_bytes()), made, "lzma")
    patch.write_bytes(made.getvalue())
    applied = io.BytesIO()
    module.apply_patch(io.BytesIO(old.read_bytes()), io.BytesIO(made.getvalue()), applied)
    again.write_bytes(applied.getvalue())


PROGRAMS: dict[str, Callable[[Path, Path, Path, Path], None]] = {
    "zstd": by_zstd, "xdelta3": by_xdelta3, "bsdiff": by_bsdiff, "detools": by_detools,
}  # fmt: skip


def patched(program: str, old: Path, new: Path) -> int | None:
    """Bytes of the patch, or None if the program is not installed. Raises `ValueError` if it gives another file."""
    if program in ("zstd", "xdelta3") and shutil.which(program) is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        patch, again = Path(folder) / "patch", Path(folder) / "again"
        try:
            PROGRAMS[program](old, new, patch, again)
        except ModuleNotFoundError:
            return None
        if again.read_bytes() != new.read_bytes():
            raise ValueError(f"{program} gives another file")
        return patch.stat().st_size


def metadata(old: bytes, new: bytes) -> list[bytes] | None:
    """The signed files that bring a device from `old` to `new`. None without the packages of the extra `[publish]`."""
    try:
        from squeezenet.fleet import publisher, repository
    except ModuleNotFoundError:
        return None
    now = datetime(2026, 11, 28, tzinfo=UTC)
    with tempfile.TemporaryDirectory() as folder:
        one = repository.Keys(1, 1)
        made = repository.create(Path(folder), one, one, repository.Days(), now)
        for data in (old, new):
            found = repository.load(made.folder)
            publisher.publish(found, data, "model.sqz", publisher.Plan(), now, override="the labels may differ")
        names = ("timestamp.json", "3.snapshot.json", "3.targets.json")
        return [(made.public / "metadata" / name).read_bytes() for name in names]


def changed(old: Model, new: Model) -> float:
    """Share of the levels of `new` that differ. All levels of a layer that `old` lacks, or has in another shape, do."""
    levels = [(grid(old, name) if name in old.weights else None, grid(new, name)) for name in new.weights]
    equal = sum(np.count_nonzero(a == b) for a, b in levels if a is not None and a.shape == b.shape)
    return float(1 - equal / sum(b.size for _, b in levels))


def grid(model: Model, name: str) -> np.ndarray:
    """The levels of a layer."""
    weight = model.weights[name].weight
    assert isinstance(weight, Grid)
    return weight.levels.astype(np.int32)


def levels_alone(old: Model, new: Model) -> Model:
    """The old network with the new levels."""
    weights = {name: replace(held, weight=replace(held.weight, levels=new.weights[name].weight.levels))
               for name, held in old.weights.items()}  # fmt: skip
    return replace(old, weights=weights)


def measured(old: Path, new: Path, nncodec: Peer | None) -> dict[str, object]:
    """One row of the table."""
    before, after = old.read_bytes(), new.read_bytes()
    models = sqz.decode(before), sqz.decode(after)
    made = delta.make(before, after)
    assert delta.apply(before, made) == after
    row: dict[str, object] = {
        "old": old.name, "new": new.name, "changed": changed(*models), "float32": models[1].float32_bytes,
        "whole": len(after), "squeezenet": len(made),
    }  # fmt: skip
    if (signed := metadata(before, after)) is not None:
        row["metadata"], row["gzip"] = (sum(map(len, files)) for files in (signed, map(gzip.compress, signed)))
        row["update"] = (len(made) + row["gzip"]) / len(after)
    row |= {program: patched(program, old, new) for program in PROGRAMS}
    if nncodec is not None:
        differences = {name: grid(models[1], name) - grid(models[0], name) for name in models[1].weights}
        row["nncodec"] = lossless(nncodec, differences, 0, None).bytes
        row["levels"] = len(delta.make(before, sqz.encode(levels_alone(*models)))) - HEADER
    return row


def main() -> None:
    """Print a row for each pair."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, metavar="OLD.sqz NEW.sqz")
    parser.add_argument("--nncodec", metavar="PYTHON", help="a Python that has nncodec")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    options = parser.parse_args()
    pairs = list(zip(options.files[::2], options.files[1::2], strict=True))
    with tempfile.TemporaryDirectory() as folder:
        nncodec = Peer(options.nncodec, Path(folder)) if options.nncodec else None
        rows = [measured(*pair, nncodec) for pair in pairs]
        if nncodec is not None:
            nncodec.close()
    columns = list(rows[0])
    print("| " + " | ".join(columns) + " |\n" + "|-" * len(columns) + "|")
    for row in rows:
        cells = [f"{100 * x:.2f}%" if isinstance(x, float) else "" if x is None else f"{x}" for x in row.values()]
        print("| " + " | ".join(cells) + " |")
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
