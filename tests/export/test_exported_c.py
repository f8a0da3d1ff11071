"""Networks as C: the promises of the README that is written with them, each on a compiled program."""

import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from squeezenet import sqz, zoo
from squeezenet.cli.main import main
from squeezenet.export.c.board import BOARDS
from squeezenet.export.c.measure import sizes
from squeezenet.export.c.text import comment, string
from squeezenet.graph import Conv, GlobalAvgPool
from squeezenet.printable import printable
from squeezenet.runtime.classifier import load
from support.commands import python
from support.engine_networks import NETWORKS, Builder, network
from support.exported_c import CAT, exported, made, need, ran

EMULATED = [name for name, board in BOARDS.items() if board.emulator]
ALLOWED = {"memcpy", "memmove", "memset"}
HELPERS = re.compile(
    r"__aeabi_(u?[il]div(mod)?|u?ldivmod|l(mul|lsl|lsr|asr)|[il]div0)|__u?(div|mod)[sd]i3|__muldi3|__clz[sd]i2|__(ashl|ashr|lshr)di3"
)
"""Integer arithmetic that a processor lacks, and that compilers bring."""
FLOATS = re.compile(r"__aeabi_(c?[fd]\w|u?[il]2[fd])|__\w+[sd]f[23]?$|__(fix|float)\w+")
"""Functions in place of floating-point instructions."""

BARS = [
    ("imagenet", "netduinoplus2", 1024, 192), ("imagenet-small", "netduinoplus2", 512, 128),
    ("cifar10-small", "lm3s6965evb", 256, 64),
    ("imagenet-small", "mps3-an547", 512, 192), ("imagenet-small", "riscv32", 1024, 192),
]  # fmt: skip
"""Model, board, KiB of flash and of RAM for the whole program, its stack included."""


def long_if(name: str, longer: bool) -> Any:
    """A parameter whose test runs in `make long` only."""
    return pytest.param(name, marks=pytest.mark.long if longer else ())


@pytest.mark.parametrize("name", NETWORKS)
def test_every_operation_has_the_same_logits(name: str, tmp_path: Path) -> None:
    exported(NETWORKS[name](), tmp_path / "c")
    ran(tmp_path / "c")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_random_networks_have_the_same_logits(seed: int, tmp_path: Path) -> None:
    exported(network(seed), tmp_path / "c")
    ran(tmp_path / "c")


@pytest.mark.parametrize("name", [long_if(name, name.startswith("imagenet")) for name in zoo.SHIPPED])
def test_what_ships_has_the_same_logits_and_labels(name: str, tmp_path: Path) -> None:
    exported(sqz.read(zoo.find(name)), tmp_path / "c")
    first = ran(tmp_path / "c").output.splitlines()[0]
    best = load(zoo.find(name)).classify(CAT)[0]
    assert first.startswith(f"{best.label}: class ")


@pytest.mark.parametrize("board", [long_if(board, board in ("netduinoplus2", "riscv32")) for board in EMULATED])
def test_a_board_gives_the_same_logits_within_the_memory_that_the_export_printed(board: str, tmp_path: Path) -> None:
    said = exported(sqz.read(zoo.find("digits")), tmp_path / "c", board)
    found = ran(tmp_path / "c")
    assert sizes(BOARDS[board], tmp_path / "c/build/example") == [(said["flash"], said["ram"])]
    assert found.stack == said["stack"]
    assert found.instructions > 100_000
    assert said["code"] <= 24_000
    readme = (tmp_path / "c/README.md").read_text()
    for key in ("flash", "ram", "stack", "memory"):
        assert f"| {said[key]:,} |" in readme


def test_export_runs_the_example_and_counts_instructions(tmp_path: Path, capsys) -> None:
    need("lm3s6965evb")
    out = tmp_path / "c"
    command = ["export", "digits", "--to", "c", "--board", "lm3s6965evb", "--run", "--json", "--out", str(out)]
    assert main(command) == 0
    said = json.loads(capsys.readouterr().out)
    assert 0 < said["decoding_instructions"] < said["instructions"]
    assert said["stack_used"] == said["stack"] > 0
    assert f"took {said['instructions']:,} instructions" in (out / "README.md").read_text()
    command[5] = "host"
    assert main(command) == 2
    assert "--run: host has no emulator; name a board with --board" in capsys.readouterr().err


@pytest.mark.long
@pytest.mark.parametrize(("name", "board", "flash", "ram"), BARS)
def test_networks_that_ship_run_on_small_boards(name: str, board: str, flash: int, ram: int, tmp_path: Path) -> None:
    said = exported(sqz.read(zoo.find(name)), tmp_path / "c", board, flash=flash << 10, ram=ram << 10)
    found = ran(tmp_path / "c")
    assert said["flash"] <= flash << 10
    assert said["ram"] <= ram << 10
    assert found.stack == said["stack"]
    best = load(zoo.find(name)).classify(CAT)[0]
    assert found.output.startswith(f"{best.label}: class ")


@pytest.mark.long
@pytest.mark.parametrize("name", NETWORKS)
def test_every_operation_takes_the_stack_that_was_printed(name: str, tmp_path: Path) -> None:
    said = exported(NETWORKS[name](), tmp_path / "c", "lm3s6965evb")
    assert ran(tmp_path / "c").stack == said["stack"]


@pytest.mark.parametrize("board", ["netduinoplus2", "riscv32"])
def test_the_code_calls_no_library_has_no_state_and_uses_no_floats(board: str, tmp_path: Path) -> None:
    exported(NETWORKS["nine_bit"](), tmp_path / "c", board)
    made(tmp_path / "c")
    build, prefix = tmp_path / "c/build", BOARDS[board].prefix
    objects = [build / "model.o", build / "model_weights.o", *sorted((build / "engine").glob("*.o"))]
    nm = subprocess.run([f"{prefix}nm", *objects], capture_output=True, text=True, check=True).stdout
    symbols = re.findall(r"^[0-9a-f ]* ([A-Za-z]) (\S+)$", nm, re.MULTILINE)
    defined = {name for kind, name in symbols if kind not in "Uu"}
    needed = {name for kind, name in symbols if kind in "Uu"} - defined
    linked = subprocess.run([f"{prefix}nm", build / "example"], capture_output=True, text=True, check=True).stdout
    assert not [name for name in linked.split() if FLOATS.search(name)]
    assert {name for name in needed if not HELPERS.fullmatch(name) and not FLOATS.search(name)} <= ALLOWED
    assert not [name for kind, name in symbols if kind in "DdBbCSs"], "variables"
    for path in objects:
        headers = subprocess.run([f"{prefix}size", "-A", path], capture_output=True, text=True, check=True).stdout
        assert not re.search(r"^\.s?(data|bss)\S* +[1-9]", headers, re.MULTILINE), (path, headers)


HOSTILE = [
    "*/ #error", "a/b\n\x1b[2J", '"??/', "\\", "$(shell touch made)", "`id`", "ünï\u202e", "x" * 5000, "??)?", "%s",
]  # fmt: skip

PRINT = r"""
#include <stdio.h>
#include "model.h"

int main(void)
{
    for (int i = 0; i < MODEL_CLASSES; i++) printf("%s\n", model_labels[i]);
    return 0;
}
"""


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    b = Builder(0)
    x = 0
    for name in HOSTILE:
        x = b.layer(Conv((x,), name, len(HOSTILE), (1, 1)), b.scale(0))
    model = replace(b.finish(b.put(GlobalAvgPool((x,)))), labels=tuple(HOSTILE))
    exported(model, tmp_path / "c", name="*/ $(shell touch made) `id`\n# x")
    assert "\x1b" not in ran(tmp_path / "c").output
    assert not (tmp_path / "c" / "made").exists()
    (tmp_path / "print.c").write_text(PRINT)
    files = [tmp_path / "print.c", tmp_path / "c/model_labels.c"]
    command = ["cc", "-std=c99", "-trigraphs", "-w", "-I", tmp_path / "c", *files, "-o", tmp_path / "print"]
    subprocess.run(command, check=True)
    found = subprocess.run([tmp_path / "print"], capture_output=True, check=True).stdout.decode()
    assert found.split("\n")[:-1] == [printable(label) for label in HOSTILE]
    for path in (tmp_path / "c").rglob("*"):
        assert re.fullmatch(r"[A-Za-z0-9_./-]+", str(path.relative_to(tmp_path / "c")))


def test_strings_and_comments_are_escaped() -> None:
    assert string('a"\\??/\n1') == r'"a\"\\\?\?/\0121"'
    assert string("é\udc80") == r'"\303\251\200"'
    assert comment("a*/b\n" + "c" * 100) == "a_/b_" + "c" * 55


def test_float_networks_and_limits_that_are_too_small_are_refused_by_name(tmp_path: Path, capsys) -> None:
    need("host")
    floats = tmp_path / "floats.sqz"
    sqz.write(NETWORKS["fire"]().dequantised(), floats)
    out = tmp_path / "c"
    command = ["export", str(floats), "--to", "c", "--out", str(out)]
    assert main(command) == 1
    assert "--to c: only integer networks become C; squeeze it first" in capsys.readouterr().err
    assert main(["inspect", str(floats)]) == 0
    assert "not c (only integer networks" in capsys.readouterr().out
    command[1] = "digits"
    for more, code, said in (
        (
            ["--ram", "1kB"],
            1,
            "digits --to c: no plan keeps within these limits of RAM and flash: 1,000 bytes of RAM; w",
        ),
        (["--ram", "1kB"], 1, "without limits, the network alone takes 7,336 bytes of RAM and 228,424 of flash"),
        (
            ["--board", "lm3s6965evb", "--flash", "30kB"],
            1,
            " for the stack and the example) and 30,000 bytes of flash (",
        ),
        (["--board", "lm3s6965evb", "--ram", "3kB"], 1, "digits --to c: stack, code and names alone take about"),
        (["--board", "lm3s6965evb", "--flash", "3kB"], 1, "digits --to c: stack, code and names alone take about"),
        (["--board", "lm3s6965evb", "--ram", "65KiB"], 2, "--ram 66,560: lm3s6965evb has 65,536 bytes"),
    ):
        assert main([*command, *more]) == code
        assert said in capsys.readouterr().err
        assert not out.exists()
    assert main(["export", "digits", "--to", "onnx", "--out", "a.onnx", "--board", "host"]) == 2
    assert "--board: only for --to c" in capsys.readouterr().err
    assert main(["export", "digits", "--to", "onnx", "--out", "a.onnx", "--prefix", ""]) == 2


def test_a_folder_of_others_is_refused_and_files_of_others_stay(tmp_path: Path, capsys) -> None:
    need("host")
    out = tmp_path / "c"
    out.mkdir()
    (out / "mine.c").write_text("mine")
    command = ["export", "digits", "--to", "c", "--out", str(out)]
    assert main(command) == 2
    assert "squeezenet did not write it; pass --force to write into it" in capsys.readouterr().err
    assert os.listdir(out) == ["mine.c"]
    assert main([*command, "--force"]) == 0
    (out / "engine" / "old.c").write_text("")
    marker = json.loads((out / "squeezenet.json").read_text())
    marker["files"] += ["engine/old.c", "../outside", "/absolute"]
    (out / "squeezenet.json").write_text(json.dumps(marker))
    (tmp_path / "outside").write_text("")
    assert main(command) == 0  # an export may replace an export
    assert not (out / "engine" / "old.c").exists()
    assert (tmp_path / "outside").exists()
    assert (out / "mine.c").read_text() == "mine"
    for wrong in (tmp_path / "none" / "c", out / "mine.c"):
        assert main([*command[:-1], str(wrong)]) == 2


def test_a_cpp_program_uses_the_folder_and_the_memory_is_what_the_readme_says(tmp_path: Path) -> None:
    need("host")
    if shutil.which("c++") is None:
        pytest.skip("c++ is not installed")
    said = exported(sqz.read(zoo.find("digits")), tmp_path / "c")
    made(tmp_path / "c")
    program = """#include <cstdio>
#include "model.h"
static model_memory memory;
int main() {
    int32_t logits[MODEL_CLASSES];
    static uint8_t row[MODEL_WIDTH * MODEL_CHANNELS];
    model_begin(&memory);
    for (int y = 0; y < MODEL_HEIGHT; y++) model_row(&memory, row);
    model_finish(&memory, logits);
    std::printf("%zu", sizeof memory);
}
"""
    (tmp_path / "main.cpp").write_text(program)
    objects = [*(tmp_path / "c/build").glob("*.o"), *(tmp_path / "c/build/engine").glob("*.o")]
    objects.remove(tmp_path / "c/build/example.o")
    command = ["c++", "-I", tmp_path / "c", tmp_path / "main.cpp", *objects, "-o", tmp_path / "main"]
    subprocess.run(command, check=True)
    assert subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=True).stdout == str(said["memory"])


TWO = """
#include <stdio.h>
#include "birds.h"
#include "cats_2.h"

#define RUN(name, NAME)                                                                            \\
    {                                                                                              \\
        static name##_memory memory;                                                               \\
        static uint8_t row[NAME##_WIDTH * NAME##_CHANNELS];                                        \\
        int32_t logits[NAME##_CLASSES];                                                            \\
        FILE *image = fopen(#name "/test/image.bin", "rb");                                        \\
        name##_begin(&memory);                                                                     \\
        for (int y = 0; y < NAME##_HEIGHT && fread(row, 1, sizeof row, image) == sizeof row; y++)  \\
            name##_row(&memory, row);                                                              \\
        name##_finish(&memory, logits);                                                            \\
        for (int i = 0; i < NAME##_CLASSES; i++) printf("logit %ld\\n", (long)logits[i]);          \\
    }

int main(void)
{
    RUN(birds, BIRDS)
    RUN(cats_2, CATS_2)
    return 0;
}
"""


def test_two_models_in_one_program_have_the_logits_of_each(tmp_path: Path) -> None:
    sources, expected = {}, ""
    for prefix, name in (("birds", "fire"), ("cats_2", "mobile")):
        out = tmp_path / prefix
        model = NETWORKS[name]()
        labels = tuple(f"model_{i}" for i in range(model.graph.classes))
        exported(replace(model, labels=labels), out, prefix=prefix)
        assert "model_2" in (out / f"{prefix}_labels.c").read_text()
        assert f"`{prefix}_row`" in (out / "README.md").read_text()
        expected += (out / "test/logits.txt").read_text()
        sources |= {path.name: path for path in [*out.glob(f"{prefix}*.c"), *out.glob("engine/*.c")]}
    (tmp_path / "main.c").write_text(TWO)
    folders = [f"-I{tmp_path / name}" for name in ("birds", "cats_2", "birds/engine", "cats_2/engine")]
    command = ["cc", "-std=c99", "-O1", "-DSQZ_ROWS_ONLY", "-DSQZ_NO_FLOATS", *folders, tmp_path / "main.c"]
    subprocess.run([*command, *sources.values(), "-o", tmp_path / "two"], check=True)
    done = subprocess.run([tmp_path / "two"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == expected


@pytest.mark.parametrize(
    "prefix", ["", "Birds", "2birds", "a-b", "a b", "a/b", "../a", "a;b", "$(id)", "é", "a" * 41, "a\n"]
)
def test_prefixes_that_are_no_names_are_refused(prefix: str, tmp_path: Path, capsys) -> None:
    command = ["export", "digits", "--to", "c", f"--prefix={prefix}", "--out", str(tmp_path / "c")]
    assert main(command) == 2
    assert "must be lower-case letters a to z, digits and _" in capsys.readouterr().err
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("prefix", ["sqz_rows", "board", "example", "string", "stdint", "rows"])
def test_prefixes_that_are_names_of_other_files_are_refused(prefix: str, tmp_path: Path, capsys) -> None:
    assert main(["export", "digits", "--to", "c", "--prefix", prefix, "--out", str(tmp_path / "c")]) == 2
    assert f"--prefix {prefix}: is taken" in capsys.readouterr().err


def test_without_the_compiler_of_the_board_its_name_is_said(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["export", "digits", "--to", "c", "--board", "lm3s6965evb", "--out", str(tmp_path / "c")]) == 0
    assert "arm-none-eabi-gcc or make is not installed here" in capsys.readouterr().out


def test_the_json_names_every_file(tmp_path: Path, capsys) -> None:
    need("host")
    out = tmp_path / "c"
    assert main(["export", "digits", "--to", "c", "--out", str(out), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert {file["path"]: file["bytes"] for file in said["files"]} == {
        str(path): path.stat().st_size for path in out.rglob("*") if path.is_file()
    }
    assert (said["to"], said["board"], said["stack"]) == ("c", "host", None)
    assert said["memory"] >= said["activations"] > 0


def test_exporting_to_c_needs_no_pytorch(tmp_path: Path) -> None:
    need("host")
    code = """
import sys
sys.modules.update(dict.fromkeys(["torch", "safetensors", "datasets", "sklearn", "tqdm", "onnx", "onnx_ir"]))
from squeezenet.cli.main import main
raise SystemExit(main(["export", "digits", "--to", "c", "--out", sys.argv[1]]))
"""
    assert "C for host" in python(code, str(tmp_path / "c"))
