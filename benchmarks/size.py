"""Bytes of a squeezed file against gzip, bzip2, xz, zstd and nncodec, on the same weights and at the same accuracy.

    python benchmarks/size.py squeezed.sqz --out size.json                                  # seconds
    python benchmarks/size.py squeezed.sqz --model RUN --data DATA --nncodec nncodec/bin/python --out size.json

Without loss, every coder gets exactly the weights and biases of `squeezed.sqz`, and what it decodes is compared:

- float32: all weights, then all biases;
- integers: each weight as its rank among its layer's values, counted from zero up and down, in the smallest integer
  type that holds it; codebooks and biases as float32, byte plane by byte plane. This is the fairer form.

zstd is the reference library as pyarrow brings it (19, and 22 with `--ultra`). nncodec codes the same integers with
DeepCABAC as int32 tensors (row skipping, parameter optimisation, the better of two unary lengths, and its codebook mode
where codebooks are small), and pays for codebooks and biases what the best of the other coders makes of them.

With loss, nncodec gets the float weights of `--model` and quantises them itself, in the settings of `LOSSY`: trellis
(dependent) quantisation, rate-distortion optimised quantisation (`lambda_scale`), and QPs by layer, either its own
(`opt_qp`) or in proportion to the spread of the weights (`qp_per_tensor`). Of each, the coarsest QP is sought at which
top-1 on `--data`, by `squeezenet evaluate` on the decoded weights, is not below that of `squeezed.sqz`; accuracy is not
quite monotone in QP, so a few coarser ones are tried past that point, and what could not be the smallest is not tried
at all. `--ioq DATA` then lets nncodec move the QP of each layer by accuracy on DATA (IOQ, eight evaluations a layer).
`--qp` measures given QPs instead (density 2, as nncodec's command line has them). Not used, because they train: LSA and
fine-tuning. Batch normalisation is folded before anything is compared.

How to make `nncodec/bin/python`: see `nncodec_peer.py`. Our bytes hold graph, labels and preparation too, what others
code is only weights and biases: so there are two ratios, to our whole file and to our weights alone.
"""

import argparse
import bz2
import gzip
import json
import lzma
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
from numpy.typing import NDArray

from squeezenet import sqz, zoo
from squeezenet.cli import evaluate as verb
from squeezenet.formats import load_model, save_model
from squeezenet.model import Model, Plain, Weights

NAMES = {"header", "graph", "text"}
"""Sections of a file that are no weights."""
MOST_VALUES = 4096
"""Different values of a layer's weights up to which they are ranks into a codebook."""
SMALL_CODEBOOK = 64
"""nncodec's codebook mode tries every centroid as the zero: minutes for a codebook of 256."""

Tensors = dict[str, NDArray[Any]]
Worth = Callable[[Tensors], float | None]
Packed = Callable[[bytes], bytes]


def zstd(level: int) -> tuple[Packed, Callable[[bytes, int], bytes]]:
    """zstd as pyarrow brings it."""
    codec = pyarrow.Codec("zstd", compression_level=level)
    return partial(codec.compress, asbytes=True), partial(codec.decompress, asbytes=True)


GENERAL: dict[str, tuple[Packed, Callable[[bytes, int], bytes]]] = {
    "gzip -9": (lambda data: gzip.compress(data, 9, mtime=0), lambda data, _: gzip.decompress(data)),
    "bzip2 -9": (lambda data: bz2.compress(data, 9), lambda data, _: bz2.decompress(data)),
    "xz -9e": (lambda data: lzma.compress(data, preset=9 | lzma.PRESET_EXTREME), lambda data, _: lzma.decompress(data)),
    "zstd -19": zstd(19),
    "zstd --ultra -22": zstd(22),
}

INTEGERS: list[dict[str, Any]] = [
    {"row_skipping": True, "param_opt": True, "cabac_unary_length_minus1": length} for length in (10, 40)
]
"""Ways to code int32 tensors without loss."""
CODEBOOK = {"row_skipping": True, "param_opt": True, "codebook_mode": 2, "qp": 0, "qp_density": 2, "use_dq": False}
"""The same for floats that are whole numbers: a step of 1."""

BY_LAYER = "by_layer"
"""Ours to say, nncodec's to do (`qp_per_tensor`): steps in proportion to the spread of a layer's weights."""
TUNED = {"row_skipping": True, "param_opt": True, "use_dq": True, "qp_density": 3, "nonweight_qp": -96}
"""Steps of QP half as far apart as by default, biases to 1/4096 instead of 1/440,000."""
LOSSY: dict[str, dict[str, Any]] = {
    "defaults": {"row_skipping": True, "param_opt": True, "use_dq": True, "qp_density": 2, "nonweight_qp": -75},
    "dq": TUNED,
    "dq, RDO 0.5": {**TUNED, "lambda_scale": 0.5},
    "dq, RDO 1": {**TUNED, "lambda_scale": 1.0},
    "dq, RDO 2": {**TUNED, "lambda_scale": 2.0},
    "dq, RDO 4": {**TUNED, "lambda_scale": 4.0},
    "dq, by layer": {**TUNED, BY_LAYER: True},
    "dq, by layer, RDO 1": {**TUNED, BY_LAYER: True, "lambda_scale": 1.0},
    "dq, opt_qp": {**TUNED, "opt_qp": True},
    "dq, opt_qp, RDO 1": {**TUNED, "opt_qp": True, "lambda_scale": 1.0},
}
FINEST, COARSEST = -44, -4
"""QPs that are searched, at density 2: steps from 2 ** -11 to 1/2."""
IOQ_FROM = 3
"""QPs from which IOQ starts, the best without it the finest. Each takes eight evaluations a layer."""
BEYOND = 2
"""Coarser QPs that are tried past the first that is not good enough."""


@dataclass(frozen=True)
class Row:
    """What a coder made of it."""

    coder: str
    of: str  # what it was given
    bytes: int
    top1: float | None = None
    encode: float | None = None  # seconds
    decode: float | None = None
    settings: dict[str, Any] = field(default_factory=dict)


# The same weights in other forms


def as_integers(values: NDArray[np.float32]) -> tuple[NDArray[np.int32], NDArray[np.float32]] | None:
    """Ranks of a layer's values, zero as 0, and what they stand for, ascending; None if there are too many."""
    codebook, rank = np.unique(values, return_inverse=True)
    if codebook.size > MOST_VALUES:
        return None
    below = np.count_nonzero(codebook < 0)
    number = np.arange(codebook.size) - below
    if 0 not in codebook:
        number[below:] += 1
    return number[rank].reshape(values.shape).astype(np.int32), codebook


def smallest(numbers: NDArray[np.int32]) -> bytes:
    """Integers in the smallest type that holds them."""
    kind = next(k for k in (np.int8, np.int16, np.int32) if abs(numbers).max(initial=0) <= np.iinfo(k).max)
    return numbers.astype(kind).tobytes()


def planes(values: Sequence[NDArray[np.float32]]) -> bytes:
    """float32 byte plane by byte plane: what repeats is together."""
    return np.concatenate([v.ravel() for v in values]).view(np.uint8).reshape(-1, 4).T.tobytes()


def forms(model: Model) -> tuple[bytes, bytes, dict[str, NDArray[np.int32]], bytes]:
    """Of all weights: as float32, as integers; of the latter also the tensors, and the bytes that are none of them."""
    held = list(model.weights.values())
    floats = b"".join([w.weight.values().tobytes() for w in held] + [w.bias.tobytes() for w in held])
    tensors: dict[str, NDArray[np.int32]] = {}
    rest = [w.bias for w in held]
    for index, weights in enumerate(held):
        if (found := as_integers(weights.weight.values())) is None:
            rest.append(weights.weight.values())
        else:
            tensors[str(index)], codebook = found
            rest.append(codebook)
    return floats, b"".join(map(smallest, tensors.values())) + planes(rest), tensors, planes(rest)


def general(data: bytes, of: str, top1: float | None) -> list[Row]:
    """Every coder that knows nothing of weights. Raises `SystemExit` if one does not give them back."""
    rows = []
    for name, (encode, decode) in GENERAL.items():
        clock = time.perf_counter()
        coded = encode(data)
        between = time.perf_counter()
        if decode(coded, len(data)) != data:
            raise SystemExit(f"size: {name} gave other bytes back")
        rows.append(Row(name, of, len(coded), top1, between - clock, time.perf_counter() - between))
    return rows


# Accuracy


class Judge:
    """`squeezenet evaluate --data DATA --limit N`, or nothing if there is no data."""

    def __init__(self, data: str | None, limit: int | None, folder: Path) -> None:
        self.data, self.limit, self.folder = data, limit, folder

    def top1(self, model: str | Path) -> float | None:
        """Of a model in a file."""
        if self.data is None:
            return None
        parser = argparse.ArgumentParser()
        verb.configure(parser)
        limit = [] if self.limit is None else ["--limit", str(self.limit)]
        return float(verb.run(parser.parse_args([str(model), "--data", self.data, *limit]))["top1"])

    def with_weights(self, model: Model, weights: dict[str, Weights]) -> float | None:
        """Of a model with other weights."""
        path = self.folder / "decoded.safetensors"
        save_model(replace(model, weights=weights), path)
        return self.top1(path)


# nncodec


class Peer:
    """nncodec in its own interpreter."""

    def __init__(self, python: str, folder: Path) -> None:
        program = [python, str(Path(__file__).with_name("nncodec_peer.py"))]
        self.process = subprocess.Popen(
            program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.folder = folder
        self.version = self._heard()["version"]

    def code(self, tensors: Tensors, settings: dict[str, Any], worth: Worth | None = None) -> tuple[Any, Tensors]:
        """What it says, and the tensors that it decodes; what weights are `worth`, if it wants to know."""
        given, taken = self.folder / "given.npz", self.folder / "taken.npz"
        np.savez(given, **tensors)
        said = self._ask({"weights": str(given), "settings": settings, "out": str(taken)})
        while "judge" in said and worth:
            said = self._ask(worth(self._taken(taken, tensors)))
        return said, self._taken(taken, tensors)

    def close(self) -> None:
        """Let it end."""
        self.process.communicate()

    def _taken(self, path: Path, tensors: Tensors) -> Tensors:
        with np.load(path) as decoded:
            return {name: decoded[name].astype(given.dtype).reshape(given.shape) for name, given in tensors.items()}

    def _ask(self, what: object) -> dict[str, Any]:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()
        return self._heard()

    def _heard(self) -> dict[str, Any]:
        assert self.process.stdout
        if not (line := self.process.stdout.readline()):
            raise SystemExit("size: nncodec ended; try `PYTHON benchmarks/nncodec_peer.py`")
        return json.loads(line)


def lossless(peer: Peer, tensors: dict[str, NDArray[np.int32]], rest: int, top1: float | None) -> Row:
    """The smallest way to code the integers, with `rest` bytes for what is none."""
    tried = [(tensors, settings) for settings in INTEGERS]
    if max(np.unique(t).size for t in tensors.values()) <= SMALL_CODEBOOK:
        tried.append(({name: t.astype(np.float32) for name, t in tensors.items()}, CODEBOOK))
    rows = []
    for given, settings in tried:
        said, decoded = peer.code(given, settings)
        if not all(np.array_equal(decoded[name], tensors[name]) for name in tensors):
            raise SystemExit("size: nncodec gave other integers back")
        rows.append(Row("nncodec", "integers", said["bytes"] + rest, top1, said["encode"], said["decode"], settings))
    return min(rows, key=lambda row: row.bytes)


def lossy(
    peer: Peer, model: Model, settings: dict[str, Any], name: str, ioq: Judge | None = None
) -> tuple[Row, dict[str, Weights]]:
    """The model's floats, quantised by nncodec: what it came to, and the decoded weights."""
    held = list(model.weights.items())
    tensors = {f"{i}w": w.weight.values() for i, (_, w) in enumerate(held)}
    tensors |= {f"{i}b": w.bias for i, (_, w) in enumerate(held)}
    told = {key: value for key, value in settings.items() if key != BY_LAYER} | {"ioq": ioq is not None}
    if settings.get(BY_LAYER):
        told["qp_per_tensor"] = by_layer(tensors, settings["qp"], settings["qp_density"])

    def weights(decoded: Tensors) -> dict[str, Weights]:
        return {layer: Weights(Plain(decoded[f"{i}w"]), decoded[f"{i}b"]) for i, (layer, _) in enumerate(held)}

    said, decoded = peer.code(tensors, told, (lambda t: ioq.with_weights(model, weights(t))) if ioq else None)
    coder = f"nncodec, {name}{', IOQ' if ioq else ''}, QP {settings['qp']}"
    return Row(coder, "the model", said["bytes"], None, said["encode"], said["decode"], told), weights(decoded)


def by_layer(tensors: dict[str, NDArray[np.float32]], qp: int, qp_density: int) -> dict[str, int]:
    """A QP for every weight, `qp` for the layer in the middle; an octave of steps is 2 ** qp_density QPs."""
    spread = {name: np.log2(values.std()) for name, values in tensors.items() if values.ndim > 1 and values.any()}
    middle = np.median(list(spread.values()))
    return {name: round(qp + (octaves - middle) * 2**qp_density) for name, octaves in spread.items()}


def coarsest(good: Callable[[int], bool], finest: int, coarsest: int, beyond: int = BEYOND) -> int | None:
    """The largest number that is good, if good ones come first; and up to `beyond` more, where they nearly do."""
    good = cache(good)
    below, above = finest - 1, coarsest + 1
    while above - below > 1:
        middle = (below + above) // 2
        below, above = (middle, above) if good(middle) else (below, middle)
    if below < finest:
        return None
    return max([below, *(qp for qp in range(above + 1, min(above + beyond, coarsest) + 1) if good(qp))])


def search(peer: Peer, model: Model, judge: Judge, wanted: float, names: Sequence[str]) -> list[Row]:
    """Of every setting the smallest that is worth `wanted`, if it is smaller than those of the settings before."""
    found: list[Row] = []
    for name in names:
        measured: dict[int, Row] = {}

        def good(qp: int, name: str = name, measured: dict[int, Row] = measured) -> bool:
            row, weights = lossy(peer, model, {**LOSSY[name], "qp": qp}, name)
            if row.bytes >= min((other.bytes for other in found), default=row.bytes + 1):
                return True  # or not: it could not be the smallest, a coarser one could
            measured[qp] = row = replace(row, top1=judge.with_weights(model, weights))
            print(f"{row.coder}: {row.bytes:,} bytes, top-1 {row.top1:.2f}", file=sys.stderr, flush=True)
            return row.top1 is not None and row.top1 >= wanted

        best = coarsest(good, FINEST * density(name), COARSEST * density(name))
        if best in measured:
            found.append(measured[best])
    return found


def density(name: str) -> int:
    """How many QPs of a setting there are for one of nncodec's command line."""
    return 1 << LOSSY[name]["qp_density"] >> 2


# What it came to


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Every row, and what they are measured against."""
    path = zoo.find(args.squeezed)
    squeezed, found = sqz.read(path), sqz.sections(path)
    judge = Judge(args.data, args.limit, folder)
    top1 = judge.top1(args.squeezed)
    whole, weights = sum(s.bytes for s in found), sum(s.bytes for s in found if s.name not in NAMES)
    seconds = timed(lambda: sqz.encode(squeezed)), timed(lambda: sqz.read(path))
    rows = [Row("squeezenet", "the file", whole, top1, *seconds), Row("squeezenet", "its weights", weights, top1)]
    floats, integers, tensors, rest = forms(squeezed)
    rows += general(floats, "float32", top1) + general(integers, "integers", top1)
    version = None
    if args.nncodec:
        peer = Peer(args.nncodec, folder)
        version = peer.version
        if tensors:
            least = min([len(rest), *(row.bytes for row in general(rest, "", None))])
            rows.append(lossless(peer, tensors, least, top1))
        if args.model:
            rows += points(args, peer, judge, top1)
        peer.close()
    return {
        "squeezed": args.squeezed, "model": args.model, "data": args.data, "limit": args.limit,
        "nncodec": version, "file": whole, "weights": weights, "rows": [asdict(row) for row in rows],
    }  # fmt: skip


def points(args: argparse.Namespace, peer: Peer, judge: Judge, top1: float | None) -> list[Row]:
    """nncodec on the model's floats; the first row is the model as it is."""
    model = load_model(args.model)
    rows = [Row("float32", "the model", model.float32_bytes, judge.top1(args.model))]
    if top1 is not None and not args.qp:
        rows += search(peer, model, judge, top1, args.settings)
        if args.ioq and len(rows) > 1:
            rows += optimised(peer, model, judge, Judge(args.ioq, args.limit, judge.folder), rows[-1])
        return rows
    for name in args.settings:
        for qp in args.qp or ():
            row, weights = lossy(peer, model, {**LOSSY[name], "qp": qp * density(name)}, name)
            rows.append(replace(row, top1=judge.with_weights(model, weights)))
    return rows


def optimised(peer: Peer, model: Model, judge: Judge, calibration: Judge, best: Row) -> list[Row]:
    """The best setting with QPs by layer that nncodec searches on `calibration`, from its QP and the next ones on."""
    name = best.coder.removeprefix("nncodec, ").rpartition(", QP")[0]
    rows = []
    for qp in range(best.settings["qp"], best.settings["qp"] + IOQ_FROM):
        row, weights = lossy(peer, model, {**LOSSY[name], "qp": qp}, name, calibration)
        rows.append(replace(row, top1=judge.with_weights(model, weights)))
        print(f"{row.coder}: {row.bytes:,} bytes, top-1 {rows[-1].top1:.2f}", file=sys.stderr, flush=True)
    return rows


def timed(work: Callable[[], object]) -> float:
    """Seconds."""
    clock = time.perf_counter()
    work()
    return time.perf_counter() - clock


def table(result: dict[str, Any]) -> str:
    """What a person reads."""
    columns = ("coder", "of", "bytes", "to our file", "to our weights", "top-1", "encode s", "decode s")
    lines = ["| " + " | ".join(columns) + " |", "|-" * len(columns) + "|"]
    for row in result["rows"]:
        numbers = ["" if row[key] is None else f"{row[key]:.2f}" for key in ("top1", "encode", "decode")]
        ratios = [f"{row['bytes'] / result[key]:.3f}" for key in ("file", "weights")]
        lines.append("| " + " | ".join([row["coder"], row["of"], f"{row['bytes']:,}", *ratios, *numbers]) + " |")
    return "\n".join(lines)


def verdict(result: dict[str, Any]) -> str:
    """How much smaller our file is than the smallest of the others that is as accurate."""
    ours = result["rows"][0]
    others = [row for row in result["rows"] if row["coder"] not in ("squeezenet", "float32")]
    best = min((row for row in others if (row["top1"] or 0) >= (ours["top1"] or 0)), key=lambda row: row["bytes"])
    saved = 100 * (1 - ours["bytes"] / best["bytes"])
    return (
        f"our file is {abs(saved):.1f}% {'smaller' if saved > 0 else 'larger'} than the smallest of the others that is "
        f"as accurate ({best['coder']}, of {best['of']}, {best['bytes']:,} bytes)"
    )


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("squeezed", metavar="SQUEEZED", help="a .sqz file, or the name of one that ships")
    parser.add_argument("--model", metavar="MODEL", help="what it was made of: nncodec quantises these weights itself")
    parser.add_argument("--data", metavar="DATA", help="whatever `squeezenet evaluate` reads")
    parser.add_argument("--limit", type=int, metavar="N", help="evaluate N images")
    parser.add_argument("--nncodec", metavar="PYTHON", help="interpreter of an environment with nncodec 2")
    parser.add_argument("--qp", type=int, nargs="+", metavar="QP", help="measure these instead of searching")
    parser.add_argument("--ioq", metavar="DATA", help="let nncodec search QPs by accuracy on these images: hours")
    parser.add_argument("--settings", nargs="+", choices=LOSSY, default=list(LOSSY), help="of nncodec (default: all)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write all results there as JSON")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(args, Path(folder))
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(table(result))
    print(f"\n{verdict(result)}; nncodec {result['nncodec'] or 'not measured'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
