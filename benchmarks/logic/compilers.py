"""How many logits differ in what compilers for FPGAs read: QONNX in its own execution, hls4ml in its C simulation."""

import re
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from squeezenet.data import load_evaluation, load_pixels
from squeezenet.export.hls4ml.write import export
from squeezenet.export.onnx import encode
from squeezenet.model import FloatArray, Model
from squeezenet.runtime.image import normalise
from squeezenet.runtime.integers import IntegerRunner


def images(model: Model, data: str, count: int | None) -> FloatArray:
    """The prepared images of a data set."""
    found = load_pixels(load_evaluation(data), model.preparation, limit=count, progress=False, workers=1)
    return np.stack([normalise(image, model.preparation) for image in found.images])


def in_qonnx(model: Model, prepared: FloatArray) -> int:
    """The logits of `--to qonnx` that differ."""
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.transformation.infer_shapes import InferShapes

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(encode(model, "qonnx"))
        wrapper = ModelWrapper(str(path))
    wrapper.set_tensor_shape("image", [1, *model.graph.input_shape])
    wrapper = wrapper.transform(InferShapes())
    logits = np.concatenate([execute_onnx(wrapper, {"image": image[None]})["logits"] for image in prepared])
    return int((logits != IntegerRunner(model)(prepared)).sum())


def in_hls4ml(model: Model, prepared: FloatArray) -> int:
    """The logits of `--to hls4ml` that differ."""
    with tempfile.TemporaryDirectory() as folder:
        export(model, "model", Path(folder) / "project", images=prepared)
        command = ["make", "-C", f"{folder}/project", "test"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(rf"^(\d+) of \d+ logits differ, in {len(prepared)} images", done.stdout, re.MULTILINE)
    if not found:
        raise SystemExit(done.stderr[-500:])
    return int(found[1])
