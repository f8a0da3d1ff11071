"""Pages of TensorFlow.js and ONNX Runtime Web for a SqueezeNet, as small as they can be, for `page_load.py`, `web.py`.

Both pages are bundled and made small by esbuild, and ask for all their files at once (`<link rel="preload">`).
TensorFlow.js is given no converter and only the kernels that the network needs. Its weights are bytes, in one of
two forms:

- `levels`: the levels and steps of the integer network, which gzip makes smallest;
- `uint8`: as its own converter quantises: for each tensor a smallest value and a step.

A network of floats has only `uint8` there, and its floats in ONNX Runtime Web.

>>> tensorflow(model, "levels")                                          # doctest: +SKIP
([{'kind': 'conv', 'inputs': [0], 'shape': [7, 7, 3, 96], ...}, ...], b'...')
"""

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from squeezenet.export.onnx import encode
from squeezenet.graph import Concat, Conv, MaxPool, ReLU
from squeezenet.model import Grid, Model

PAGES = Path(__file__).parent / "pages"
TENSORFLOW, ONNX = "TensorFlow.js", "ONNX Runtime Web"


def tensorflow(model: Model, form: str) -> tuple[list[dict[str, Any]], bytes]:
    """The layers of a network of convolutions with ReLU, pools and concatenations, and the bytes of its weights."""
    floats, layers, data = model.dequantised() if model.scales else model, [], bytearray()
    number = {0: 0}  # of our values -> of theirs; a convolution and its ReLU are one value there
    shapes = model.graph.shapes()

    def put(array: np.ndarray) -> int:
        data.extend(bytes(-len(data) % 4))
        data.extend(array.tobytes())
        return len(data) - array.nbytes

    for index, op in enumerate(model.graph.ops, 1):
        inputs = [number[i] for i in op.inputs]
        match op:
            case ReLU():
                number[index] = inputs[0]
                continue
            case Conv():
                held, weight = floats.weights[op.name], model.weights[op.name].weight
                layer: dict[str, Any] = {"kind": "conv", "stride": op.stride[0], "bias": put(held.bias)}
                values = held.weight.values()
                if form == "levels":
                    assert isinstance(weight, Grid)
                    steps = Grid(np.ones_like(weight.levels[:, :1, :1, :1]), weight.exponents).values().ravel()
                    written = weight.levels.astype(np.int8)
                else:
                    step = (values.max() - values.min()) / 255
                    zero = np.rint(-values.min() / step)  # the number of weight 0, which stays exact
                    steps, layer["least"] = np.full(op.out, step, np.float32), float(-zero * step)
                    written = np.clip(np.rint(values / step) + zero, 0, 255).astype(np.uint8)
                written = np.ascontiguousarray(written.transpose(2, 3, 1, 0))  # (height, width, in, out)
                layer |= {"shape": written.shape, "pad": op.padding[0] and "same", "weight": put(written)}
                layer["step"] = put(steps)
            case MaxPool():
                before, after = shapes[op.inputs[0]][1], shapes[index][1]
                over = (after - 1) * op.stride[0] + op.kernel[0] - before  # rows beyond the end, if it is rounded up
                layer = {"kind": "pool", "kernel": op.kernel[0], "stride": op.stride[0]}
                layer["pad"] = [[0, 0], [0, over], [0, over], [0, 0]] if over > 0 else "valid"
            case Concat():
                layer = {"kind": "concat"}
            case _:
                layer = {"kind": "mean"}
        number[index] = len(layers) + 1
        layers.append({**layer, "inputs": inputs})
        if layer["kind"] == "mean":
            return layers, bytes(data)
    raise ValueError("a network without a mean at its end")


def bundle(script: str, peers: Path) -> bytes:
    """A script of `pages/` with the packages in `peers/node_modules`, as small as esbuild makes it."""
    command = [peers / "node_modules" / ".bin" / "esbuild", PAGES / script, "--bundle", "--minify", "--format=esm"]
    command += ["--target=es2022", "--external:os", "--external:fs", "--external:path", "--external:perf_hooks"]
    done = subprocess.run(
        [*command, "--external:worker_threads", "--external:util", "--external:crypto", "--log-level=error"],
        capture_output=True, check=True, env={"NODE_PATH": str(peers / "node_modules")},
    )  # fmt: skip
    return done.stdout


def pages(model: Model, peers: Path) -> dict[str, dict[str, bytes]]:
    """The files of each page by its name."""
    modules, labels = peers / "node_modules", list(model.labels)
    found = {}
    integers = bool(model.scales)
    for form in ("levels", "uint8") if integers else ("uint8",):
        layers, data = tensorflow(model, form)
        network = json.dumps({"layers": layers, "labels": labels}, separators=(",", ":")).encode()
        simd = "tfjs-backend-wasm-simd.wasm"
        engine = (modules / "@tensorflow/tfjs-backend-wasm/dist" / simd).read_bytes()
        found[f"{TENSORFLOW}, {form}"] = {"model.bin": data, simd: engine, "network.json": network}
    threaded = "ort-wasm-simd-threaded.wasm"
    engine = (modules / "onnxruntime-web/dist" / threaded).read_bytes()
    forms = {"onnx": model, "onnx-qdq": model, "float": model.dequantised()} if integers else {"float": model}
    for form, held in forms.items():
        data = encode(held, "onnx" if form == "float" else form)
        found[f"{ONNX}, {form}"] = {threaded: engine, "model.onnx": data, "labels.json": json.dumps(labels).encode()}
    scripts = {name: bundle(script, peers) for name, script in
               ((TENSORFLOW, "tensorflow-page.js"), (ONNX, "onnx-page.js"))}  # fmt: skip
    page = (PAGES / "index.html").read_text()
    for name, files in found.items():
        links = "\n".join(f'<link rel="preload" as="fetch" crossorigin href="{file}">' for file in files)
        files |= {"index.html": page.replace("@PRELOADS@", links).encode(), "page.js": scripts[name.split(",")[0]]}
    return found


def at_size(model: Model, size: int) -> Model:
    """The network for images of another size."""
    shape = (model.graph.input_shape[0], size, size)
    preparation = replace(model.preparation, crop=size)
    return replace(model, graph=replace(model.graph, input_shape=shape), preparation=preparation)
