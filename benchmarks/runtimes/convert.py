"""One network in one runtime's own files: `python convert.py RUNTIME MODEL.sqz PHOTO SIZE FOLDER`.

8 bits are made by each runtime's own tool, from crops of the photo; that is enough to time them, not to judge them.
Started by `runtime.py`, a process for each runtime, since their tools do not always bear each other.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from plain import module, resized
from torch import fx

from squeezenet import sqz
from squeezenet.model import FloatArray, Model
from squeezenet.runtime.image import normalise, open_image, pixels

CALIBRATION = 16
"""Images."""


def calibration(photo: Image.Image, model: Model) -> FloatArray:
    """The whole photo, then random parts of it: float32 (CALIBRATION, channels, height, width)."""
    random = np.random.default_rng(0)
    found = [photo]
    for _ in range(CALIBRATION - 1):
        side = random.uniform(0.2, 0.8) * min(photo.size)
        left, top = random.uniform(0, photo.width - side), random.uniform(0, photo.height - side)
        found.append(photo.crop((round(left), round(top), round(left + side), round(top + side))))
    preparation = model.preparation
    return np.stack([normalise(pixels(image, preparation), preparation) for image in found])


class OneByOne:
    """Images as ONNX Runtime's calibration takes them."""

    def __init__(self, images: FloatArray) -> None:
        self.left: Iterator[FloatArray] = iter(images)

    def get_next(self) -> dict[str, FloatArray] | None:
        image = next(self.left, None)
        return None if image is None else {"image": image[None]}


def pytorch(network: fx.GraphModule, images: FloatArray, folder: Path) -> None:
    """The module itself, pickled: no graph to trace again, the fastest to load."""
    torch.save(network, folder / "pytorch-float.pt")


def onnxruntime(network: fx.GraphModule, images: FloatArray, folder: Path) -> None:
    """ONNX with fixed shapes known to its tools; 8 bits are uint8 activations and int8 weights by output channel.

    That is not `quantize_static`'s default: with int8 activations x86 has no kernel for most layers, which then stay
    float and convert back and forth (20 ms instead of 6). Optimised once, here, as its documentation recommends for
    a fast start.
    """
    import onnxruntime as ort
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    exported, plain, whole = (str(folder / f"onnxruntime-{name}.onnx") for name in ("exported", "float", "int8"))
    torch.onnx.export(
        network,
        (torch.from_numpy(images[:1]),),
        exported,
        input_names=["image"],
        output_names=["logits"],
        dynamic_axes={"image": {0: "N"}, "logits": {0: "N"}},
        opset_version=17,
        dynamo=False,  # the other exporter needs one more package, and gives the same graph
    )
    quant_pre_process(exported, plain)
    quantize_static(
        plain,
        whole,
        OneByOne(images),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    for path in (plain, whole):
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3  # it says that the result is for this machine, which is meant
        options.add_free_dimension_override_by_name("N", 1)
        options.optimized_model_filepath = path.replace(".onnx", "-optimised.onnx")
        ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def qlinear(network: fx.GraphModule, images: FloatArray, folder: Path) -> None:
    """ONNX for one image, float, and with QLinearConv and uint8: what generators of C take as 8 bits.

    emx-onnx-cgen takes a scale for each output channel, onnx2c one for all. The other operations stay float: neither
    of them knows ONNX Runtime's own QLinearConcat, and with int8 activations onnx2c computes other numbers.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    plain = str(folder / "onnx-float.onnx")
    names = {"input_names": ["image"], "output_names": ["logits"]}
    torch.onnx.export(network, (torch.from_numpy(images[:1]),), plain, opset_version=17, dynamo=False, **names)
    for name, per_channel in (("channels", True), ("tensors", False)):
        quantize_static(
            plain,
            str(folder / f"onnx-{name}.onnx"),
            OneByOne(images),
            quant_format=QuantFormat.QOperator,
            per_channel=per_channel,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["Conv", "Relu", "MaxPool"],
        )


def openvino(network: fx.GraphModule, images: FloatArray, folder: Path) -> None:
    """OpenVINO's IR; 8 bits by NNCF."""
    import nncf
    import openvino as ov

    plain = ov.convert_model(network, example_input=torch.from_numpy(images[:1]))
    plain.reshape([-1, *images.shape[1:]])
    whole = nncf.quantize(plain, nncf.Dataset([image[None] for image in images]), subset_size=len(images))
    ov.save_model(plain, folder / "openvino-float.xml", compress_to_fp16=False)
    ov.save_model(whole, folder / "openvino-int8.xml", compress_to_fp16=False)


def litert(network: fx.GraphModule, images: FloatArray, folder: Path) -> None:
    """A flatbuffer that reads channels last, as its kernels do; 8 bits by AI Edge Quantizer, input and output float."""
    _litert(network, images, folder, "litert", float_ends=True)


def litert_micro(network: fx.GraphModule, images: FloatArray, folder: Path) -> None:
    """The same for TensorFlow Lite Micro: input and output have 8 bits too, and nothing has a name."""
    from ai_edge_litert.tools import flatbuffer_utils

    _litert(network, images, folder, "litert_micro", float_ends=False)
    path = folder / "litert_micro-int8.tflite"
    file = flatbuffer_utils.read_model(path)
    flatbuffer_utils.strip_strings(file)
    flatbuffer_utils.write_model(file, path)


def _litert(network: fx.GraphModule, images: FloatArray, folder: Path, name: str, float_ends: bool) -> None:
    import litert_torch
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import quantizer, recipe
    from ai_edge_quantizer.algorithm_manager import AlgorithmName
    from ai_edge_quantizer.qtyping import TFLOperationName

    plain = str(folder / f"{name}-float.tflite")
    last = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
    litert_torch.convert(litert_torch.to_channel_last_io(network, args=[0]), (torch.from_numpy(last[:1]),)).export(
        plain
    )
    ((signature, names),) = Interpreter(plain).get_signature_list().items()
    tool = quantizer.Quantizer(plain)
    tool.load_quantization_recipe(recipe.static_wi8_ai8())
    for end in (TFLOperationName.INPUT, TFLOperationName.OUTPUT) if float_ends else ():
        tool.update_quantization_recipe(".*", end, algorithm_key=AlgorithmName.NO_QUANTIZE)
    found = tool.calibrate({signature: [{names["inputs"][0]: image[None]} for image in last]})
    tool.quantize(found).export_model(str(folder / f"{name}-int8.tflite"))


def ncnn(network: fx.GraphModule, images: FloatArray, folder: Path) -> None:
    """Layers and weights by pnnx. No 8 bits: the wheels lack its tools for that (`ncnn2table`, `ncnn2int8`)."""
    import pnnx

    pnnx.export(network, str(folder / "ncnn.pt"), torch.from_numpy(images[:1]), fp16=False)


RUNTIMES = (pytorch, onnxruntime, qlinear, openvino, litert, litert_micro, ncnn)


def main() -> None:
    """Write the runtime's files; for `squeezenet` the file itself, what all need, and the logits to expect."""
    name, file, photo, size, out = sys.argv[1:]
    folder = Path(out)
    model = resized(sqz.read(file), int(size))
    images = calibration(open_image(photo), model)
    network = module(model)
    if name == "squeezenet":
        sqz.write(model, folder / "squeezenet.sqz")
        (folder / "labels.txt").write_text("\n".join(model.labels or map(str, range(model.graph.classes))))
        np.save(folder / "image.npy", images[0])
        np.save(folder / "logits.npy", network(torch.from_numpy(images[:1])).numpy())
        way = model.preparation
        numbers = [",".join(map(str, values)) for values in (way.mean, way.std)]
        (folder / "preparation.txt").write_text(f"{way.resize} {way.crop} {way.fit} {way.channels} {' '.join(numbers)}")
    else:
        {runtime.__name__: runtime for runtime in RUNTIMES}[name](network, images, folder)


if __name__ == "__main__":
    main()
