"""Instructions per multiply-accumulate of typical layers on emulated microcontrollers, and those of CMSIS-NN.

    python benchmarks/kernels/count.py
    git clone https://github.com/ARM-software/CMSIS-NN && python benchmarks/kernels/count.py --cmsis-nn CMSIS-NN

Each layer runs whole: its input is widened or copied as the engine does it, multiplied, and rescaled to bytes. QEMU
counts the instructions (`-icount`), whatever they are: on a processor, some take longer than others. CMSIS-NN is
compiled with -Ofast, as its own makefiles do.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from support.boards import BOARDS, COMPILER, Board, missing  # noqa: E402
from support.engine_sources import INCLUDES, KERNELS  # noqa: E402

CMSIS = {
    "ConvolutionFunctions": "*s8*.c",
    "FullyConnectedFunctions": "*s8.c",
    "NNSupportFunctions": "*[sq][78]*.c",
    "TransposeFunctions": "*s8.c",
}
"""Which of its files the convolutions need."""


def compile_cmsis(folder: Path, board: Board, work: Path) -> list[Path]:
    """The object files of CMSIS-NN's 8-bit convolutions."""
    sources = [path for name, files in CMSIS.items() for path in (folder / "Source" / name).glob(files)]
    command = [COMPILER, f"-mcpu={board.processor}", "-mthumb", *board.flags, "-Ofast", "-I", folder / "Include", "-c"]
    subprocess.run([*command, *(path.resolve() for path in sources)], cwd=work, check=True)
    return sorted(work.glob("*.o"))


def count(board: Board, cmsis: Path | None, work: Path) -> list[list[str]]:
    """Rows of: kernels, layer, instructions per multiply-accumulate."""
    sources: list[str | Path] = ["-std=gnu99", "-O2", *INCLUDES, *KERNELS]
    if cmsis is not None:
        sources += ["-DWITH_CMSIS", "-I", cmsis / "Include", *compile_cmsis(cmsis.resolve(), board, work)]
    program = work / "count.elf"
    board.build(program, ROOT / "benchmarks" / "kernels" / "count.c", *sources)
    command = board.command(program, [], "-icount", "shift=0")
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [line.split("\t") for line in done.stdout.splitlines()]


def main() -> None:
    """Print a table for each board."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cmsis-nn", type=Path, metavar="FOLDER", help="sources of CMSIS-NN, to count it as well")
    args = parser.parse_args()
    if missing():
        sys.exit(missing())
    for board in BOARDS:
        with tempfile.TemporaryDirectory() as work:
            rows = count(board, args.cmsis_nn, Path(work))
        sets = list(dict.fromkeys(row[0] for row in rows))
        found = {(row[0], row[1]): row[2] for row in rows}
        print(f"\n| {board.processor} | {' | '.join(sets)} |\n|-|{'-|' * len(sets)}")
        for layer in dict.fromkeys(row[1] for row in rows):
            print(f"| {layer} | {' | '.join(found[name, layer] for name in sets)} |")


if __name__ == "__main__":
    main()
