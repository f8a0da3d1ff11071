"""Bytes and speed of a model in Node, here, in ONNX Runtime Web and in TensorFlow.js: WebAssembly, one thread.

    make -C web
    npm install --prefix peers onnxruntime-web @tensorflow/tfjs-core @tensorflow/tfjs-backend-wasm esbuild
    python benchmarks/web.py imagenet --input-size 224 --peers peers

Each runtime has a process of its own, and turns alternate. A figure is the median over the rounds of the fastest of
`--runs` images: CPU milliseconds, so that other programs on the machine count little. `onnx` and `onnx-qdq` are the two
8-bit forms that `squeezenet export` writes; the first gives the same logits as the model. TensorFlow.js computes with
floats, by `pages/tensorflow.js`. The first class of all runtimes must be the same.
"""

import argparse
import gzip
import json
import statistics
import subprocess
import tempfile
from pathlib import Path

import numpy as np

import web_peers
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
const logits = Array.from(await see());
console.log(JSON.stringify({ cpu: fastest, best: logits.indexOf(Math.max(...logits)) }));
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
const see = async () => {
  const results = await session.run({ [session.inputNames[0]]: new ort.Tensor("float32", image, [1, ...shape]) });
  return results[session.outputNames[0]].data;
};
"""
TENSORFLOW = """
globalThis.require = (await import("node:module")).createRequire(import.meta.url);
globalThis.__dirname = ".";
const { run, start, weightsOf } = await import("./tensorflow.mjs");
await start("PEERS/node_modules/@tensorflow/tfjs-backend-wasm/dist/");
const layers = JSON.parse(fs.readFileSync("network.json")), data = fs.readFileSync(file);
const weights = weightsOf(layers, data.buffer.slice(data.byteOffset, data.byteOffset + data.length));
const [channels, size] = shape, rows = new Float32Array(image.length);
for (let c = 0; c < channels; c++)
  for (let i = 0; i < size * size; i++) rows[i * channels + c] = image[c * size * size + i];
const see = () => run(layers, weights, rows, size);
"""


def main() -> None:
    """Print bytes, then a row for each runtime."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--input-size", type=int)
    parser.add_argument("--peers", type=Path, help="the folder with node_modules")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runs", type=int, default=20)
    args = parser.parse_args()
    model = sqz.read(zoo.find(args.model))
    if args.input_size:
        model = web_peers.at_size(model, args.input_size)
    for name in ("engine.wasm", "engine-scalar.wasm", "squeezenet.js"):
        print(f"{name}: {len(gzip.compress((WEB / name).read_bytes(), 9, mtime=0)):,} bytes (gzip)")
    with tempfile.TemporaryDirectory(dir=args.peers) as folder:
        here = Path(folder)
        image = np.random.default_rng(0).normal(0, 50, model.graph.input_shape).astype(np.float32)
        image.tofile(here / "image.f32")
        runtimes = {"squeezenet": (OURS.replace("MODULE", str(WEB / "squeezenet.js")), sqz.encode(model))}
        if args.peers:
            runtimes |= {f"ONNX Runtime Web, {to}": (THEIRS, encode(model, to)) for to in ("onnx-qdq", "onnx")}
            layers, weights = web_peers.tensorflow(model, "levels")
            (here / "network.json").write_text(json.dumps(layers))
            (here / "tensorflow.mjs").write_bytes(web_peers.bundle("tensorflow.js", args.peers))
            runtimes["TensorFlow.js"] = TENSORFLOW.replace("PEERS", str(args.peers.resolve())), weights
        times: dict[str, list[float]] = {name: [] for name in runtimes}
        classes: set[int] = set()
        for _ in range(args.rounds):
            for number, (name, (code, data)) in enumerate(runtimes.items()):
                (here / f"{number}.bin").write_bytes(data)
                (here / f"{number}.mjs").write_text(READ + code + TIMED)
                command = ["node", f"{number}.mjs", f"{number}.bin", "image.f32", str(args.runs)]
                done = subprocess.run(
                    [*command, *map(str, image.shape)], cwd=here, capture_output=True, text=True, check=True
                )
                found = json.loads(done.stdout.splitlines()[-1])
                times[name].append(found["cpu"])
                classes.add(found["best"])
        for name, taken in times.items():
            print(f"{name}: {statistics.median(taken):.1f} ms of CPU ({min(taken):.1f} to {max(taken):.1f})")
        assert len(classes) == 1, classes


if __name__ == "__main__":
    main()
