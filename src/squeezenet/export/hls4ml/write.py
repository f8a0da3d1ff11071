"""Writes a folder with a project of hls4ml, and a program that compares its logits with squeezenet's.

>>> export(model, "digits", Path("digits-hls"))["convolutions"]         # doctest: +SKIP
32
"""

import json
import tempfile
from contextlib import redirect_stdout
from importlib.resources import files
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from squeezenet.errors import MissingDependency, UnsupportedOperation
from squeezenet.export.fixed import Convolution, Network, fixed
from squeezenet.export.folders import MARKER, may_write, put
from squeezenet.export.hls4ml.layers import layers, name_of, types
from squeezenet.export.targets import TARGETS
from squeezenet.model import FloatArray, Model
from squeezenet.printable import printable
from squeezenet.runtime.image import normalise, prepare
from squeezenet.runtime.integers import IntegerRunner
from squeezenet.version import __version__

PROJECT = "network"
"""The name of the project: of its top function and of its files."""

FOLDERS = (".", "firmware", "firmware/weights", "tb_data")
"""The folders in it whose files change with the model."""

DRAWN = 8
"""Random images with which the project is tested if no image is given."""


def export(
    model: Model, name: str, out: Path, image: Path | None = None, images: FloatArray | None = None, force: bool = False
) -> dict[str, Any]:
    """Write the folder `out`; returns the JSON object of the verb.

    The project is tested with prepared `images`, with an image file, or with random images.
    """
    if reason := TARGETS["hls4ml"](model):
        raise UnsupportedOperation(reason)
    may_write(out, "hls4ml", force)
    network = fixed(model)
    tested = _tested(model, image) if images is None else images
    with tempfile.TemporaryDirectory() as folder:
        version = _project(network, Path(folder))
        written = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(Path(folder).rglob("*"))
            if path.is_file()
        }
    written |= {file: text.encode() for file, text in _ours(model, name, network, tested, version).items()}
    result = {
        "hls4ml": version,
        "convolutions": sum(isinstance(stage, Convolution) for stage in network.stages),
        "tested": len(tested),
    }
    marker = {"squeezenet": __version__, "to": "hls4ml", "model": printable(name), **result, "files": sorted(written)}
    written[MARKER] = (json.dumps(marker, indent=1) + "\n").encode()
    put(out, written, "hls4ml", FOLDERS)
    return {**result, "files": [{"path": str(out / path), "bytes": len(data)} for path, data in written.items()]}


def _project(network: Network, out: Path) -> str:
    """hls4ml writes its project; returns its version. What it prints is not shown."""
    try:
        import hls4ml
        from hls4ml.backends import get_backend
        from hls4ml.model.graph import ModelGraph
    except ImportError as error:
        raise MissingDependency(f"writing a project of hls4ml needs {error.name}; pip install 'sqznet[hls]'") from None
    made = layers(network)
    each: dict[str, dict[str, Any]] = {name: {"Precision": precision} for name, precision in types(network).items()}
    for index, stage in enumerate(network.stages, 1):
        if isinstance(stage, Convolution):
            # one multiplier for each output: hls4ml unrolls a layer whose weights are all used at once
            inside = network.values[stage.source].shape[0] * stage.weights.shape[2] * stage.weights.shape[3]
            each[name_of(index)] |= {"Strategy": "resource", "ReuseFactor": inside}
    start = get_backend("Vitis").create_initial_config(io_type="io_stream")
    model = {"Precision": "fixed<16,6>", "ReuseFactor": 1, "Strategy": "resource"}
    names = {"OutputDir": str(out), "ProjectName": PROJECT, "Backend": "Vitis"}
    config = {**start, **names, "HLSConfig": {"Model": model, "LayerName": each}}
    with redirect_stdout(StringIO()):
        graph = ModelGraph.from_layer_list(config, made, [name_of(0)], [name_of(network.output)])
        graph.write()
    drawn = {str(out): ".", graph.config.get_config_value("Stamp"): "squeezenet"}  # hls4ml draws a stamp at random
    for path in (out / "build_lib.sh", out / "hls4ml_config.yml"):
        text = path.read_text(encoding="utf-8")
        for old, new in drawn.items():
            text = text.replace(old, new)
        path.write_text(text, encoding="utf-8")
    return str(hls4ml.__version__)


def _tested(model: Model, image: Path | None) -> FloatArray:
    how = model.preparation
    if image is not None:
        return prepare(image, how)[None]
    drawn = np.random.default_rng(0).integers(0, 256, (DRAWN, *model.graph.input_shape), np.uint8)
    return np.stack([normalise(one, how) for one in drawn])


def _ours(model: Model, name: str, network: Network, images: FloatArray, version: str) -> dict[str, str]:
    """The files that squeezenet adds."""
    logits = IntegerRunner(model)(images)
    inputs = images.transpose(0, 2, 3, 1).reshape(len(images), -1)
    how, image = model.preparation, network.image
    values = {
        "NAME": printable(name), "VERSION": version, "SQUEEZENET": __version__, "TESTED": len(images),
        "INPUTS": inputs.shape[1], "CLASSES": logits.shape[1],
        "WHERE": ", ".join(map(str, image.shape)), "STEP": f"2^{image.point}",
        "BITS": f"{image.bits} bits, {'signed' if image.signed else 'unsigned'}",
        "MEAN": ", ".join(f"{m:g}" for m in how.mean), "STD": ", ".join(f"{s:g}" for s in how.std),
    }  # fmt: skip
    found = {file: _template(file, values) for file in ("Makefile", "test.cpp", "README.md")}
    return {**found, "tb_data/tb_input_features.dat": _rows(inputs), "tb_data/tb_output_predictions.dat": _rows(logits)}


def _template(file: str, values: dict[str, object]) -> str:
    text = (files("squeezenet.export.hls4ml") / "templates" / file).read_text(encoding="utf-8")
    for key, value in values.items():
        text = text.replace(f"@{key}@", str(value))
    return text


def _rows(numbers: FloatArray) -> str:
    """Numbers as text that gives the same float32 when it is read."""
    return "".join(" ".join(f"{number:.9g}" for number in row) + "\n" for row in numbers)
