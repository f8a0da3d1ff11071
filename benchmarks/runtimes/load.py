"""Each runtime in the settings its documentation gives for a CPU: `load(runtime, kind, folder, threads, batch)`.

Gives two functions: one lays (N, height, width, channels) float32 out as the runtime likes it best, which is not timed
(a program would prepare its images like that); the other goes from there to (N, classes) logits. Imports nothing that
its runtime does not need: cold start is measured on this file.
"""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from numpy.typing import NDArray

    Loaded = tuple[Callable[[NDArray[np.float32]], Any], Callable[[Any], NDArray[np.float32]]]


def load(runtime: str, kind: str, folder: str, threads: int, batch: int = 1) -> "Loaded":
    """A runtime for images in batches of `batch`; `folder` holds what `convert.py` wrote."""
    loaders = (squeezenet, pytorch, onnxruntime, openvino, litert, ncnn)
    return {loader.__name__: loader for loader in loaders}[runtime](kind, folder, threads, batch)


def channels_first(images: "NDArray[np.float32]") -> "NDArray[np.float32]":
    """(N, height, width, channels) -> (N, channels, height, width)."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def squeezenet(kind: str, folder: str, threads: int, batch: int) -> "Loaded":
    """The C engine on the path named `kind`."""
    from squeezenet import sqz
    from squeezenet.runtime.engine import EngineRunner

    return channels_first, EngineRunner(sqz.read_bytes(f"{folder}/squeezenet.sqz"), threads, kind)


def pytorch(kind: str, folder: str, threads: int, batch: int) -> "Loaded":
    """Channels last. Compiled by Inductor with weights frozen; `max-autotune` was not faster and takes minutes."""
    import torch

    torch.set_num_threads(threads)
    network = torch.load(f"{folder}/pytorch-float.pt", weights_only=False).to(memory_format=torch.channels_last)
    if kind == "compiled":
        import torch._inductor.config

        torch._inductor.config.freezing = True
        network = torch.compile(network)

    def arrange(images: "NDArray[np.float32]") -> "torch.Tensor":
        return torch.from_numpy(channels_first(images)).to(memory_format=torch.channels_last)

    def run(images: "torch.Tensor") -> "NDArray[np.float32]":
        with torch.inference_mode():
            return network(images).numpy()

    return arrange, run


def onnxruntime(kind: str, folder: str, threads: int, batch: int) -> "Loaded":
    """Fixed shapes; for single images optimised beforehand. Threads spin while they wait, as is usual there."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_free_dimension_override_by_name("N", batch)
    path = f"{folder}/onnxruntime-{kind}.onnx"
    if batch == 1:
        path = f"{folder}/onnxruntime-{kind}-optimised.onnx"
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return channels_first, lambda images: session.run(None, {"image": images})[0]


def openvino(kind: str, folder: str, threads: int, batch: int) -> "Loaded":
    """Its latency hint for one image, its throughput hint and a queue of requests for many; compiled models cached.

    What is left in float runs in bfloat16 where the processor has it: its own default.
    """
    import openvino as ov

    core = ov.Core()
    core.set_property({"CACHE_DIR": f"{folder}/openvino"})
    model = core.read_model(f"{folder}/openvino-{kind}.xml")
    model.reshape([1, *list(model.input(0).partial_shape)[1:]])
    hint = "LATENCY" if batch == 1 else "THROUGHPUT"
    compiled = core.compile_model(model, "CPU", {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": hint})
    if batch == 1:
        request = compiled.create_infer_request()
        return channels_first, lambda images: request.infer([images], share_inputs=True, share_outputs=True)[0]
    logits = np.empty((batch, compiled.output(0).shape[1]), np.float32)

    def keep(request: "ov.InferRequest", index: int) -> None:
        logits[index] = request.get_output_tensor().data[0]

    queue = ov.AsyncInferQueue(compiled)
    queue.set_callback(keep)

    def run(images: "NDArray[np.float32]") -> "NDArray[np.float32]":
        for index in range(len(images)):
            queue.start_async([images[index : index + 1]], index, share_inputs=True)
        queue.wait_all()
        return logits

    return channels_first, run


def litert(kind: str, folder: str, threads: int, batch: int) -> "Loaded":
    """The interpreter with XNNPACK, its usual delegate, which here takes every operation."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(f"{folder}/litert-{kind}.tflite", num_threads=threads)
    read, written = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    if batch > 1:
        interpreter.resize_tensor_input(read["index"], [batch, *read["shape"][1:]])
    interpreter.allocate_tensors()

    def run(images: "NDArray[np.float32]") -> "NDArray[np.float32]":
        interpreter.set_tensor(read["index"], images)
        interpreter.invoke()
        return interpreter.get_tensor(written["index"])

    return np.ascontiguousarray, run


def ncnn(kind: str, folder: str, threads: int, batch: int) -> "Loaded":
    """Activations stored in bfloat16, the fastest of its options here. It knows no batches: image after image."""
    import ncnn

    network = ncnn.Net()
    network.opt.num_threads = threads
    network.opt.use_bf16_storage = True
    network.load_param(f"{folder}/ncnn.ncnn.param")
    network.load_model(f"{folder}/ncnn.ncnn.bin")

    def arrange(images: "NDArray[np.float32]") -> "list[ncnn.Mat]":
        return [ncnn.Mat(image).clone() for image in channels_first(images)]

    def run(images: "list[ncnn.Mat]") -> "NDArray[np.float32]":
        logits = []
        for image in images:
            extractor = network.create_extractor()
            extractor.input("in0", image)
            logits.append(np.array(extractor.extract("out0")[1]))
        return np.stack(logits)

    return arrange, run
