"""How far other runtimes' logits are from the model's, for both ONNX files that `squeezenet export` writes.

    pip install '.[train,onnx]' onnxruntime openvino
    npm install --prefix web onnxruntime-web
    python benchmarks/onnx_runtimes.py digits cifar10 --data digits --data cifar10-test.parquet --web web

A runtime that is not installed is left out. LiteRT reads no ONNX. One model goes with one `--data`. The columns:

- largest: the largest difference of a logit, in 8-bit steps of the logits (256 steps of logits with 24 bits); 0 means
  the same bits;
- same: the share of images with the same first class, in percent;
- CPU: milliseconds of processor time for an image, on one thread; not of browsers.
"""

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from squeezenet import sqz, zoo
from squeezenet.data import load_evaluation, load_pixels
from squeezenet.export.onnx import encode
from squeezenet.export.targets import TARGETS, targets
from squeezenet.model import FloatArray, Model
from squeezenet.runtime.image import normalise
from squeezenet.runtime.run import runner

Run = Callable[[FloatArray], FloatArray]

WEB = """
import * as ort from 'onnxruntime-web';
import fs from 'fs';
const [network, images, logits, ...shape] = process.argv.slice(1);
ort.env.wasm.numThreads = 1;
const where = {executionProviders: ['wasm']};
const session = await ort.InferenceSession.create(new Uint8Array(fs.readFileSync(network)), where);
const bytes = fs.readFileSync(images);
const values = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
const found = (await session.run({image: new ort.Tensor('float32', values, shape.map(Number))})).logits.data;
fs.writeFileSync(logits, Buffer.from(found.buffer, found.byteOffset, found.byteLength));
"""


def onnxruntime(data: bytes) -> Run:
    """ONNX Runtime on the CPU."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return lambda images: np.concatenate([session.run(None, {"image": image[None]})[0] for image in images])


def openvino(data: bytes) -> Run:
    """OpenVINO on the CPU. What it keeps in floats has 32 bits."""
    import openvino as ov

    core = ov.Core()
    network = core.read_model(data)
    network.reshape([1, *list(network.input(0).partial_shape)[1:]])
    compiled = core.compile_model(network, "CPU", {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"})
    return lambda images: np.concatenate([np.array(compiled([image[None]])[0]) for image in images])


def web(data: bytes, modules: str) -> Run:
    """ONNX Runtime Web (WebAssembly) in Node.js."""

    def run(images: FloatArray) -> FloatArray:
        with tempfile.TemporaryDirectory() as folder:
            network, given, found = (Path(folder) / name for name in ("network.onnx", "images", "logits"))
            network.write_bytes(data)
            given.write_bytes(images.tobytes())
            command = ["node", "--input-type=module", "-e", WEB, network, given, found, *map(str, images.shape)]
            subprocess.run(command, cwd=modules, check=True)
            return np.fromfile(found, np.float32).reshape(len(images), -1)

    return run


def row(name: str, load: Callable[[bytes], Run], model: Model, data: bytes, images: FloatArray) -> str:
    """A line of the table."""
    expected = np.asarray(runner(model)(images))
    try:
        run = load(data)
    except ImportError:
        return f"{name:<16} not installed"
    start = time.process_time()
    found = run(images)
    spent = 1e3 * (time.process_time() - start) / len(images)
    scale = model.scales[-1]
    largest = np.abs(found - expected).max() / (scale.step * (256 if scale.wide else 1))
    same = 100 * (found.argmax(1) == expected.argmax(1)).mean()
    shown = "0 (equal)" if np.array_equal(found, expected) else f"{largest:.3f}"
    return f"{name:<16} {shown:>12} {same:>8.1f} {spent:>10.2f}"


def main() -> None:
    """Print a table for each model and target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL", help="an integer network")
    parser.add_argument("--data", action="append", required=True, help="images, one for each model")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--web", metavar="DIR", help="the folder in which `npm install onnxruntime-web` was run")
    args = parser.parse_args()
    loaders: dict[str, Callable[[bytes], Run]] = {"ONNX Runtime": onnxruntime, "OpenVINO": openvino}
    if args.web:
        loaders["ONNX Runtime Web"] = lambda data: web(data, args.web)
    for where, source in zip(args.models, args.data, strict=True):
        model = sqz.read(zoo.find(where))
        pixels = load_pixels(load_evaluation(source), model.preparation, args.images, progress=False)
        images = np.stack([normalise(image, model.preparation) for image in pixels.images])
        for target in (name for name in TARGETS if name.startswith("onnx")):
            if reason := targets(model)[target]:
                print(f"{where} --to {target}: {json.dumps(reason)}")
                continue
            data = encode(model, target)
            print(f"{where} --to {target}: {len(data):,} bytes, {len(images)} images")
            print(f"{'':<16} {'largest':>12} {'same':>8} {'CPU ms':>10}")
            for name, load in loaders.items():
                print(row(name, load, model, data, images), flush=True)


if __name__ == "__main__":
    main()
