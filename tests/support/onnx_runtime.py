"""Runs exported networks in ONNX Runtime, on one thread; skips tests where it is not installed."""

from pathlib import Path

import numpy as np
import pytest

from squeezenet.model import FloatArray, Model


def exported(model: Model, target: str) -> bytes:
    """The bytes of the ONNX file, which ONNX's own checker has read."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnx_ir", reason="onnx-ir is not installed")
    from squeezenet.export.onnx import encode

    data = encode(model, target)
    onnx.checker.check_model(data, full_check=True)
    return data


def in_onnx_runtime(data: bytes, images: FloatArray, optimised: bool = True, written: Path | None = None) -> FloatArray:
    """The logits of a file, image by image. `written` is where ONNX Runtime writes the network that it runs."""
    ort = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if not optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    if written:
        options.optimized_model_filepath = str(written)
    session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"image": image[None]})[0] for image in images])
