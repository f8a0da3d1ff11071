"""Milliseconds from a prepared image to its logits: the C engine against PyTorch, ONNX Runtime and OpenVINO.

    python benchmarks/runtime.py squeezed.sqz --out runtime.json

`squeezed.sqz` is an integer network. Peers get the same network with float32 weights, and 8 bits made by their own
tools: ONNX Runtime by `quantize_static` after its `quant_pre_process` (without that it is slower than float), OpenVINO
by NNCF. Those that are not installed are left out. Images are noise: no runtime's time depends on them. PyTorch runs
channels last. One image at a time, on 1 and 2 threads; rounds of all runtimes take turns in one process, and a figure
is the median of the rounds' fastest runs, so that neither another process nor a falling clock favours anyone.
"""

import argparse
import importlib.util
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from squeezenet import sqz
from squeezenet.model import FloatArray, Model
from squeezenet.models.network import Network, from_model
from squeezenet.runtime.engine import PATHS, EngineRunner

RUNS = 20  # of one runtime in one round
CALIBRATION = 8  # images for the peers' 8 bits: enough to time them

Run = Callable[[], object]


class Constant(nn.Module):
    """A weight that nobody will change."""

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.value = nn.Parameter(value, requires_grad=False)

    def forward(self) -> Tensor:
        return self.value


def network_of(model: Model) -> Network:
    """The network in PyTorch, with weights as they are and not as they could be trained."""
    network = from_model(model.dequantised()).eval().requires_grad_(False)
    for op in network.graph.layers:
        network.replace_weight(op.name, Constant(network.weight(op.name)().detach().clone()))
    return network


def installed(*names: str) -> bool:
    """Whether all these modules can be imported."""
    return all(importlib.util.find_spec(name) for name in names)


def ours(model: Model, images: FloatArray, threads: int) -> Iterator[tuple[str, Run]]:
    """The engine on every path that is meant to be fast."""
    for path in PATHS[2:] or PATHS:
        runner = EngineRunner(model, threads, path)
        yield f"squeezenet {path}", lambda runner=runner: runner(images[:1])


def pytorch(model: Model, images: FloatArray, threads: int) -> Iterator[tuple[str, Run]]:
    """PyTorch, channels last."""
    network = network_of(model).to(memory_format=torch.channels_last)
    image = torch.from_numpy(images[:1]).to(memory_format=torch.channels_last)

    def run() -> Tensor:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            return network(image)

    yield f"PyTorch {torch.__version__} float32", run


def onnxruntime(model: Model, images: FloatArray, threads: int) -> Iterator[tuple[str, Run]]:
    """ONNX Runtime, float32 and 8 bits."""
    if not installed("onnx", "onnxruntime"):
        return
    import onnxruntime as ort
    from onnxruntime.quantization import CalibrationDataReader, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Images(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = [{"image": image[None]} for image in images]

        def get_next(self) -> dict[str, FloatArray] | None:
            return self.left.pop() if self.left else None

    with tempfile.TemporaryDirectory() as folder:
        plain, prepared, whole = (str(Path(folder) / f"{name}.onnx") for name in ("plain", "prepared", "whole"))
        network = network_of(model)
        torch.onnx.export(network, torch.from_numpy(images[:1]), plain, input_names=["image"], dynamo=False)
        quant_pre_process(plain, prepared)
        quantize_static(prepared, whole, Images(), per_channel=True)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        for name, path in (("float32", plain), ("int8", whole)):
            session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            yield (
                f"ONNX Runtime {ort.__version__} {name}",
                lambda session=session: session.run(None, {"image": images[:1]}),
            )


def openvino(model: Model, images: FloatArray, threads: int) -> Iterator[tuple[str, Run]]:
    """OpenVINO, float32 and 8 bits."""
    if not installed("openvino"):
        return
    import openvino as ov

    core = ov.Core()
    plain = ov.convert_model(network_of(model), example_input=torch.from_numpy(images[:1]))
    plain.reshape(images[:1].shape)
    models = {"float32": plain}
    if installed("nncf"):
        import nncf

        models["int8"] = nncf.quantize(plain, nncf.Dataset([image[None] for image in images]))
    for name, found in models.items():
        compiled = core.compile_model(found, "CPU", {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"})
        request = compiled.create_infer_request()
        yield f"OpenVINO {ov.__version__.split('-')[0]} {name}", lambda request=request: request.infer([images[:1]])


def fastest(run: Run) -> float:
    """Milliseconds of the fastest of some runs, after one that is not counted."""
    run()
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        run()
        times.append(1000 * (time.perf_counter() - start))
    return min(times)


def measure(model: Model, threads: int, rounds: int) -> dict[str, float]:
    """Milliseconds of every runtime that is installed."""
    random = np.random.default_rng(0)
    images = random.normal(0, 50, (CALIBRATION, *model.graph.input_shape)).astype(np.float32)
    runs: dict[str, Run] = {}
    for runtime in (ours, pytorch, onnxruntime, openvino):
        runs.update(runtime(model, images, threads))
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            times[name].append(fastest(run))
    return {name: round(statistics.median(found), 3) for name, found in times.items()}


def main() -> None:
    """Print a table, and write what it says with the machine it is true of."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="an integer network, as `squeezenet compress --method squeeze` writes it")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", help="write the figures to this JSON file")
    args = parser.parse_args()
    model = sqz.read(args.model)
    found = {str(threads): measure(model, threads, args.rounds) for threads in args.threads}
    names = found[str(args.threads[0])]
    print(f"{'milliseconds, threads:':34}" + "".join(f"{threads:>9}" for threads in args.threads))
    for name in names:
        print(f"{name:34}" + "".join(f"{found[str(threads)][name]:9.2f}" for threads in args.threads))
    if args.out:
        machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()}
        Path(args.out).write_text(json.dumps({"model": args.model, "machine": machine, "ms": found}, indent=1))


if __name__ == "__main__":
    main()
