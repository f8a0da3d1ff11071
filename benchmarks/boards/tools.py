"""Each tool in its best settings: from a network to the objects of a program for `link.py`.

What a tool is given is as it likes it best: TensorFlow Lite Micro gets the image as int8 in the order of its input,
emx-onnx-cgen and onnx2c get prepared floats. Only ours prepares bytes of pixels itself, in the counted part.
"""

import os
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from boards.link import HERE, LARGE, PROCESSOR, DoesNotRun, binary, compiled, emulated, linked, run
from squeezenet.model import FloatArray, Model
from squeezenet.runtime.run import runner

THEIRS = ("-std=c99", "-O3")
"""Of the C of generators: half of the instructions of -O2 (docs/experiments.md)."""


@dataclass(frozen=True)
class Network:
    """A network as `runtimes/convert.py` left it in a folder: `squeezenet.sqz`, `litert_micro-int8.tflite`."""

    model: Model
    pixels: NDArray[np.uint8]  # (height, width, channels), red first
    prepared: FloatArray  # (channels, height, width)
    folder: Path


@dataclass(frozen=True)
class Sources:
    """Where the tools are that no package index has; commands may be several words."""

    tflm: Path | None
    emx: tuple[str, ...]
    onnx2c: str
    squeezenet: tuple[str, ...]


@dataclass(frozen=True)
class Program:
    """`step` of the logits' numbers, and what they should be; `bits`: they are floats, told as their bits."""

    objects: list[Path]
    expected: NDArray[np.float64]
    step: float = 1.0
    zero: int = 0
    bits: str = "int8"  # uint8, int32, float32: how a logit's number is to be read


Tool = Callable[[Network, Sources, Path], Program]


def squeezenet(network: Network, sources: Sources, folder: Path, options: tuple[str, ...] = ()) -> Program:
    """The C code of our own exporter, compiled by the Makefile that comes with it, but for registers of floats."""
    out = folder / "c"
    command = [*sources.squeezenet, "export", str(network.folder / "squeezenet.sqz"), "--to", "c", "--out", str(out)]
    run([*command, "--board", "netduinoplus2", *options], folder)
    run(["make", "-s", "-C", out, "objects", f"EXTRA={' '.join(PROCESSOR)}"], folder)
    objects = [compiled(HERE / "squeezenet.c", folder / "glue.o", ("-std=c99", "-O2", f"-I{out}"))]
    for source in [*out.glob("build/*.o"), *out.glob("build/engine/*.o")]:
        if source.stem != "example":
            kind = "model" if source.parent == out / "build" else "code"
            objects.append(source.rename(folder / f"{kind}-{source.name}"))
    found = re.search(r"define MODEL_STEP (\S+)f", (out / "model.h").read_text())
    if found is None:
        raise DoesNotRun("model.h has no MODEL_STEP")
    logits = runner(network.model)(network.prepared[None])[0].astype(np.float64)
    objects.append(binary(network.pixels.tobytes(), "image", ".image", folder, "image", size=True))
    return Program(objects, logits, float.fromhex(found[1]), bits="int32")


OPERATORS = {
    "ADD": "AddAdd(tflite::Register_ADD{}())",
    "AVERAGE_POOL_2D": "AddAveragePool2D(tflite::Register_AVERAGE_POOL_2D{}())",
    "CONCATENATION": "AddConcatenation()",
    "CONV_2D": "AddConv2D(tflite::Register_CONV_2D{}())",
    "DEPTHWISE_CONV_2D": "AddDepthwiseConv2D(tflite::Register_DEPTHWISE_CONV_2D{}())",
    "MAX_POOL_2D": "AddMaxPool2D(tflite::Register_MAX_POOL_2D{}())",
    "MEAN": "AddMean()",
    "PAD": "AddPad()",
    "QUANTIZE": "AddQuantize()",
    "RESHAPE": "AddReshape()",
}
"""What registers an operator; {} is `_INT8` where CMSIS-NN has kernels for that type alone, which take less flash."""

KERNELS = re.compile(
    r"kernels/(cmsis_nn/)?(add|concatenation|conv|depthwise_conv|pad|pooling|quantize|reduce|reshape)"
    r"(_common)?\.cc$|kernels/(kernel_util|micro_tensor_utils)\.cc$"
)
CMSIS = re.compile(r"Source/(BasicMath|Concatenation|Convolution|FullyConnected|NNSupport|Pad|Pooling|Reshape)")
TESTS = re.compile(r"signal/|test_helper|mock_|fake_")
TARGET = ("TARGET=cortex_m_generic", "TARGET_ARCH=cortex-m4+fp", "BUILD_TYPE=release")
INCLUDES = (
    "",
    *(f"tensorflow/lite/micro/tools/make/downloads/{name}" for name in ("flatbuffers/include", "gemmlowp", "ruy")),
)
LIBRARY = (
    "-std=c++17",
    "-O2",
    "-fno-rtti",
    "-fno-exceptions",
    "-fno-threadsafe-statics",
    "-funsigned-char",
    "-DTF_LITE_STATIC_MEMORY",
    "-DNDEBUG",
    "-DTF_LITE_STRIP_ERROR_STRINGS",
    "-DKERNELS_OPTIMIZED_FOR_SPEED",
)


def library(tree: Path, optimised: tuple[str, ...]) -> list[Path]:
    """Objects of TensorFlow Lite Micro, by its own Makefile with its own flags, of the files that we need."""
    compiler = shutil.which("arm-none-eabi-gcc")
    if compiler is None:
        raise DoesNotRun("arm-none-eabi-gcc is not installed")
    path = f"PATH={Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # its Makefile needs Pillow
    make = ["env", path, "make", "-s", "-f", "tensorflow/lite/micro/tools/make/Makefile", *TARGET, *optimised]
    make.append(f"TARGET_TOOLCHAIN_ROOT={Path(compiler).parent}/")
    generated = run([*make, "list_gendir"], tree).strip()
    objects = []
    for source in run([*make, "list_library_sources"], tree).split():
        if KERNELS.search(source):
            objects.append(f"{generated}obj/kernels/{source}")
        elif "/kernels/" not in source.replace("lite/kernels/", "") and not TESTS.search(source):
            objects.append(f"{generated}obj/core/{source}")
    for source in run([*make, "list_third_party_sources"], tree).split():
        if CMSIS.search(source):
            objects.append(f"{generated}obj/third_party_kernels/{source}")
    objects = [str(Path(name).with_suffix(".o")) for name in objects]
    run([*make, f"-j{os.cpu_count()}", *objects], tree)
    return [tree / name for name in objects]


def tflm(network: Network, sources: Sources, folder: Path, cmsis: bool) -> Program:
    """TensorFlow Lite Micro with the operators that the network needs, in the smallest arena that works."""
    if sources.tflm is None:
        raise DoesNotRun("no sources: --tflm")
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    data = (network.folder / "litert_micro-int8.tflite").read_bytes()
    host = Interpreter(model_content=data, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    host.allocate_tensors()
    operators = sorted({op["op_name"] for op in host._get_ops_details()} - {"DELEGATE"})
    for name in operators:
        if name not in OPERATORS:
            raise DoesNotRun(f"operator {name} is not in tools.OPERATORS")
    (given,), (found,) = host.get_input_details(), host.get_output_details()
    image = quantised(network.prepared, *given["quantization"])
    host.set_tensor(given["index"], image[None])
    host.invoke()
    objects = library(sources.tflm, ("OPTIMIZED_KERNEL_DIR=cmsis_nn",) if cmsis else ())
    objects.append(binary(data, "model", ".rodata", folder, "model"))
    objects.append(binary(image.tobytes(), "image", ".image", folder, "image", size=True))
    registered = "".join(f"operators.{OPERATORS[name].format('_INT8' if cmsis else '')};" for name in operators)
    flags = [*LIBRARY, *(f"-I{sources.tflm / name}" for name in INCLUDES), f"-DOPERATORS={registered}"]
    if cmsis:
        flags.append("-DCMSIS_NN")
    probe = compiled(HERE / "tflm.cc", folder / "probe.o", [*flags, "-DARENA=7000000", "-DPROBE"])
    told, _ = emulated(linked([*objects, probe], LARGE, folder), LARGE)
    objects.append(compiled(HERE / "tflm.cc", folder / "runner.o", [*flags, f"-DARENA={told['arena']}"]))
    step, zero = found["quantization"]
    expected = (host.get_tensor(found["index"])[0].astype(np.float64) - zero) * step
    return Program(objects, expected, step, zero)


def quantised(prepared: FloatArray, step: float, zero: int) -> NDArray[np.int8]:
    """(channels, height, width) -> int8 (height, width, channels), as the converter quantises."""
    return np.clip(np.rint(prepared.transpose(1, 2, 0) / step) + zero, -128, 127).astype(np.int8)


def onnx_file(network: Network, form: str) -> tuple[Path, NDArray[np.float64]]:
    """A file of `convert.qlinear`, and what ONNX Runtime makes of it. `form`: float, channels or tensors."""
    import onnxruntime

    path = network.folder / f"onnx-{form}.onnx"
    if not path.exists():
        raise DoesNotRun("not converted; the reason was printed")
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    return path, session.run(None, {"image": network.prepared[None]})[0][0].astype(np.float64)


def generated(network: Network, folder: Path, source: Path, entry: str, expected: NDArray[np.float64]) -> Program:
    """The program around one generated file of C."""
    flags = (*THEIRS, f"-DENTRY={entry}", f"-DCLASSES={len(expected)}")
    glue = compiled(HERE / "generated.c", folder / "glue.o", flags)
    image = binary(network.prepared.astype("<f4").tobytes(), "image", ".image", folder, "image", size=True)
    return Program([compiled(source, folder / "model.o", THEIRS), glue, image], expected, bits="float32")


def emx(network: Network, sources: Sources, folder: Path, form: str) -> Program:
    """emx-onnx-cgen: weights in the C file; temporary values on the stack, where the compiler may let them overlap."""
    path, expected = onnx_file(network, form)
    settings = ["--large-weight-threshold", "0", "--large-temp-threshold", "0", "--model-name", "network"]
    run([*sources.emx, "compile", *settings, path, "network.c"], folder)
    return generated(network, folder, folder / "network.c", "network", expected)


def onnx2c(network: Network, sources: Sources, folder: Path, form: str) -> Program:
    """onnx2c, whose values share memory."""
    path, expected = onnx_file(network, form)
    (folder / "network.c").write_text(run([sources.onnx2c, path], folder))
    return generated(network, folder, folder / "network.c", "entry", expected)
