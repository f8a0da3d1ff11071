"""`benchmarks/embedded.py`: what it reads from programs, what it makes of it, and one program in the emulator."""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support import ROOT

BENCHMARKS = ROOT / "benchmarks"
SIZES = """a.elf  :
section      size        addr
.vectors       64   134217728
.text       12000   134217792
.model      90000   134229792
.data          16   536870912
.bss         4096   536870928
Total      106176
"""


@pytest.fixture
def embedded(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location("embedded", BENCHMARKS / "embedded.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "embedded", module)
    spec.loader.exec_module(module)
    return module


def test_sizes_and_counts_are_read_from_what_programs_print(embedded):
    link = embedded.link
    assert link.sections(SIZES) == {".vectors": 64, ".text": 12000, ".model": 90000, ".data": 16, ".bss": 4096}
    assert link.output("loop 200000\nlogit 7\nlogit 255\nstack 96\n") == ({"loop": 200000, "stack": 96}, [7, 255])
    with pytest.raises(link.DoesNotRun, match="AllocateTensors failed"):
        link.output("loop 200000\nAllocateTensors failed\n")


def test_logits_are_compared_as_the_numbers_they_stand_for(embedded):
    whole = embedded.Program([], np.array([0.0, 2.0]), step=0.5, zero=-1)
    assert embedded.answer(whole, [255, 3]) == "same bits"
    assert embedded.answer(whole, [255, 4]) == "2.5e-01"
    assert embedded.answer(whole, [255]) == "1 logits"
    real = embedded.Program([], np.array([1.0, -2.0]), bits="float32")
    assert embedded.answer(real, [int(b) for b in np.array([1, -2], "<f4").view("<u4")]) == "same bits"
    wide = embedded.Program([], np.array([-3.0, 70000.0]), bits="int32")
    assert embedded.answer(wide, [(1 << 32) - 3, 70000]) == "same bits"


def test_the_table_has_rows_of_tools_that_do_not_run(embedded):
    def row(ram, flash, instructions):
        counts = {"stack": 500, "model": 1000, "begin": 0, "again": instructions}
        return {"board": "netduinoplus2", "ram": ram, "flash": flash, "answer": "same bits"} | counts

    ours, theirs = row(1000, 20_000, 3_000_000), row(4000, 80_000, 6_000_000)
    rows = {"squeezenet": ours, "TFLM, CMSIS-NN": theirs, "onnx2c, int8": {"why": "onnx2c is not installed"}}
    lines = embedded.rendered("digits", 2_000_000, rows).splitlines()
    assert lines[0].startswith(
        "| digits, 2.0 million MACs | board | fits | RAM | stack | flash | code | instructions |"
    )
    assert (
        lines[2]
        == "| squeezenet | netduinoplus2 | yes | 1,000 | 500 | 20,000 | 19,000 | 3,000,000 | 1.50 | 0 | same bits |"
    )
    assert lines[4] == "| onnx2c, int8 | onnx2c is not installed" + " | " * 9 + " |"
    assert lines[-1] == "ours / TFLM with CMSIS-NN: RAM 0.250, flash 0.250, instructions 0.500"
    assert {line.count("|") for line in lines[:5]} == {12}
    del rows["squeezenet"]
    assert "ours /" not in embedded.rendered("digits", 2_000_000, rows)


TOOL = """
#include "tool.h"

static volatile uint32_t array[1000];

void begin(void) {
    for (uint32_t i = 0; i < 1000; i++) array[i] = i;
}

void classify(void) {
    uint32_t passes = 1000000;
    __asm__ volatile("1: subs %0, #1\\n bne 1b" : "+r"(passes) : : "cc");
}

void finish(void) { told("logit", image[image_bytes - 1] + array[999]); }
"""


def test_an_emulated_program_is_counted_and_measured(embedded, tmp_path: Path):
    for name in ("arm-none-eabi-g++", "qemu-system-arm"):
        if shutil.which(name) is None:
            pytest.skip(f"needs {name}")
    link = embedded.link
    try:
        empty = embedded.nothing(tmp_path)
    except link.DoesNotRun as reason:
        pytest.skip(str(reason))  # a compiler of Arm without its C library
    (tmp_path / "tool.c").write_text(TOOL)
    tool = link.compiled(tmp_path / "tool.c", tmp_path / "tool.o", ("-O2",))
    weights = link.binary(bytes(5000), "weights", ".rodata", tmp_path, "model")
    image = link.binary(bytes([1, 2, 3]), "image", ".image", tmp_path, "image", size=True)
    found = link.measured([tool, weights, image], tmp_path, empty)
    assert found.board == "netduinoplus2"
    assert found.again == pytest.approx(2_000_000, abs=50)
    assert found.first == pytest.approx(found.again, abs=50)
    assert 3000 <= found.begin < 10_000
    assert 4000 <= found.static <= 4008
    assert (found.logits, found.model, found.heap) == ([999 + 3], 0, 0)  # nobody reads the weights: not linked
    assert 0 < found.stack < 200
    assert 30 < found.flash < 300
    (tmp_path / "large.c").write_text(TOOL.replace("array[1000]", "array[100000]"))
    large = link.compiled(tmp_path / "large.c", tmp_path / "large.o", ("-O2",))
    assert link.measured([large, image], tmp_path, empty).board == "mps2-an386"  # 400 kB are too many for the other


@pytest.mark.slow
def test_our_export_gives_the_engines_logits_within_the_memory_of_a_microcontroller(embedded, tmp_path: Path):
    for name in ("arm-none-eabi-g++", "qemu-system-arm", "make"):
        if shutil.which(name) is None:
            pytest.skip(f"needs {name}")
    photo = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 40, 3), np.uint8)).save(photo)
    command = [sys.executable, BENCHMARKS / "embedded.py", "cifar10-small", "--photo", photo, "--json"]
    tools = ["squeezenet", "TFLM, CMSIS-NN", "onnx2c, int8"]
    done = subprocess.run(
        [*command, "--onnx2c", tmp_path / "absent", "--only", *tools], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["networks"]["cifar10-small"]["rows"]
    assert (rows["squeezenet"]["board"], rows["squeezenet"]["answer"]) == ("netduinoplus2", "same bits")
    assert rows["squeezenet"]["again"] < 2 * 28_100_000  # MACs
    assert rows["TFLM, CMSIS-NN"] == {"why": "no sources: --tflm"}
    assert list(rows["onnx2c, int8"]) == ["why"]
