"""Bytes and speed of a model in Node, here and in ONNX Runtime Web: WebAssembly, one thread.

    make -C web
    npm install --prefix peers onnxruntime-web
    python benchmarks/web.py imagenet --input-size 224 --peers peers

Each runtime has a process of its own, and turns alternate. A figure is the median over the rounds of the fastest of
`--runs` images: CPU milliseconds, so that other programs on the machine count little. `onnx` and `onnx-qdq` are the two
8-bit forms that `squeezenet export` writes; the first gives the same logits as the model.
"""

import argparse
import gzip
import json
import statistics
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from squeezenet import sqz, zoo
from squeezenet.export.onnx import encode

WEB = Path(__file__).resolve().parents[1] / "web"
TIMED = """
let fastest = Infinity;
for (let i = 0; i < WARM + runs; i++) {
  const before = process.cpuUsage();
  await see();
  const { user, system } = process.cpuUsage(before);
  if (i >= WARM) fastest = Math.min(fastest, (user + system) / 1000);
}
console.log(JSON.stringify({ cpu: fastest }));
"""
READ = """
import fs from "node:fs";
const [file, images, runs, ...shape] = process.argv.slice(2).map((x) => (isNaN(x) ? x : Number(x))), WARM = 40;
const image = new Float32Array(new Uint8Array(fs.readFileSync(images)).buffer);
"""
OURS = """
import { load } from "MODULE";
const model = await load(file);
const see = () => model.logitsOfPrepared(image);
"""
THEIRS = """
import * as ort from "onnxruntime-web";
ort.env.wasm.numThreads = 1;
const session = await ort.InferenceSession.create(file, { executionProviders: ["wasm"] });
const see = () => session.run({ [session.inputNames[0]]: new ort.Tensor("float32", image, [1, ...shape]) });
"""


def main() -> None:
    """Print bytes, then a row for each runtime."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--input-size", type=int)
    parser.add_argument("--peers", type=Path, help="the folder with node_modules/onnxruntime-web")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runs", type=int, default=20)
    args = parser.parse_args()
    model = sqz.read(zoo.find(args.model))
    if args.input_size:
        shape = (model.graph.input_shape[0], args.input_size, args.input_size)
        preparation = replace(model.preparation, crop=args.input_size)
        model = replace(model, graph=replace(model.graph, input_shape=shape), preparation=preparation)
    for name in ("engine.wasm", "engine-scalar.wasm", "squeezenet.js"):
        print(f"{name}: {len(gzip.compress((WEB / name).read_bytes(), 9, mtime=0)):,} bytes (gzip)")
    with tempfile.TemporaryDirectory(dir=args.peers) as folder:
        here = Path(folder)
        image = np.random.default_rng(0).normal(0, 50, model.graph.input_shape).astype(np.float32)
        image.tofile(here / "image.f32")
        runtimes = {"squeezenet": (OURS.replace("MODULE", str(WEB / "squeezenet.js")), sqz.encode(model))}
        if args.peers:
            runtimes |= {f"ONNX Runtime Web, {to}": (THEIRS, encode(model, to)) for to in ("onnx-qdq", "onnx")}
        times: dict[str, list[float]] = {name: [] for name in runtimes}
        for _ in range(args.rounds):
            for number, (name, (code, data)) in enumerate(runtimes.items()):
                (here / f"{number}.bin").write_bytes(data)
                (here / f"{number}.mjs").write_text(READ + code + TIMED)
                command = ["node", f"{number}.mjs", f"{number}.bin", "image.f32", str(args.runs)]
                done = subprocess.run(
                    [*command, *map(str, image.shape)], cwd=here, capture_output=True, text=True, check=True
                )
                times[name].append(json.loads(done.stdout.splitlines()[-1])["cpu"])
        for name, found in times.items():
            print(f"{name}: {statistics.median(found):.1f} ms of CPU ({min(found):.1f} to {max(found):.1f})")


if __name__ == "__main__":
    main()
