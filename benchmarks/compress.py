"""CPU seconds of the search for a size in method squeeze, of the installed package and of another source folder.

    python benchmarks/compress.py compressed_SqueezeNet.net --data imagenet-calib.parquet --max-bytes 350000 \\
        --against ../before/src --repeat 3

`prepare` is what comes before every size (activation ranges, second derivatives). `search` is the search for a size:
`round_to_size`, trimming, and encoding of the file that is found. Each figure is the median over `--repeat` runs of the
CPU seconds of one process on one thread; the source folders take turns. Folders whose files are equal made the same
network.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any


def main() -> None:
    """Print a JSON object for each source folder, then the ratio of the first to the second."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", help="as `squeezenet compress` takes it")
    parser.add_argument("--data", help="calibration images (default: synthetic ones)")
    parser.add_argument("--max-bytes", type=int, required=True)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--against", type=Path, metavar="SRC", help="source folder of another version, with its engine")
    parser.add_argument("--once", action="store_true", help="measure once, in this process")
    args = parser.parse_args()
    if args.once:
        print(json.dumps(measured(args.model, args.data, args.max_bytes)))
        return
    folders = [None] if args.against is None else [None, args.against]
    runs: list[list[dict[str, Any]]] = [[] for _ in folders]
    for _ in range(args.repeat):
        for folder, done in zip(folders, runs, strict=True):
            done.append(in_another_process(folder))
    medians = []
    for folder, done in zip(folders, runs, strict=True):
        medians.append({key: round(median(run[key] for run in done), 2) for key in ("prepare", "search")})
        same = {run["sha256"] for run in done}
        print(
            json.dumps({"src": str(folder or "installed"), **medians[-1], "bytes": done[0]["bytes"], "sha256": [*same]})
        )
    if len(medians) == 2:
        print(json.dumps({key: round(medians[0][key] / medians[1][key], 3) for key in medians[0]}))


def in_another_process(folder: Path | None) -> dict[str, Any]:
    """What `measured` returns for the package in `folder`."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    paths = {} if folder is None else {"PYTHONPATH": str(folder.resolve())}
    command = [sys.executable, __file__, *sys.argv[1:], "--once"]
    told = subprocess.run(command, env={**os.environ, **threads, **paths}, capture_output=True, text=True, check=True)
    return dict(json.loads(told.stdout.splitlines()[-1]))


def measured(name: str, source: str | None, max_bytes: int) -> dict[str, Any]:
    """CPU seconds of both parts, and the file's size and SHA-256."""
    from squeezenet.compression.squeeze.prepared import prepare
    from squeezenet.compression.squeeze.to_size import round_to_size
    from squeezenet.compression.squeeze.trimming import trimmed
    from squeezenet.data import load_pixels
    from squeezenet.data.classes import match_classes
    from squeezenet.data.judged import load_for
    from squeezenet.formats import load_model

    given = load_model(name)
    pixels = None
    if source is not None:
        data = load_for(given.provenance, source, None, 0)
        pixels = load_pixels(match_classes(data.train, given.labels, given.graph.classes), given.preparation)
    model = given.dequantised()
    start = time.process_time()
    known = prepare(model, pixels)
    prepared = time.process_time()
    _, file = trimmed(model, round_to_size(model, known, max_bytes)[0], known, max_bytes)
    done = time.process_time()
    digest = hashlib.sha256(file).hexdigest()
    return {"prepare": prepared - start, "search": done - prepared, "bytes": len(file), "sha256": digest}


if __name__ == "__main__":
    main()
