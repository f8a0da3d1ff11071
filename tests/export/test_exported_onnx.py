"""ONNX files: what ONNX Runtime computes from them, their names and metadata, and what is refused."""

import json
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from squeezenet import sqz, zoo
from squeezenet.cli.main import main
from squeezenet.data import load_evaluation, load_pixels
from squeezenet.errors import UnsupportedOperation
from squeezenet.export.targets import targets
from squeezenet.graph import AvgPool, Conv, Flatten, GlobalAvgPool, Linear, ReLU
from squeezenet.model import FloatArray, Model
from squeezenet.runtime.image import normalise
from squeezenet.runtime.integers import IntegerRunner
from squeezenet.runtime.reference import Runner
from squeezenet.runtime.run import runner
from support import SHARED
from support.commands import python
from support.engine_networks import NETWORKS, Builder, network, normalised
from support.onnx_runtime import exported, in_onnx_runtime

DATA = {"digits": "digits", "cifar10": "cifar10-test.parquet", "cifar10-small": "cifar10-test.parquet",
        "imagenet": "imagenet-sample.parquet", "imagenet-small": "imagenet-sample.parquet"}  # fmt: skip
COUNT = {"digits": 200, "cifar10": 50, "cifar10-small": 50, "imagenet": 20, "imagenet-small": 20}

STEPS = {"digits": 4, "cifar10": 2, "cifar10-small": 1, "imagenet": 1, "imagenet-small": 1}
"""The largest difference of QDQ from the file's logits, in 8-bit steps of the logits (docs/experiments.md)."""

EXACT = ("onnx", "onnx-exact")
"""The targets with the logits of the file."""

ONNX = (*EXACT, "onnx-qdq")

CPUS = ("Nehalem", "Haswell")
"""Processors in QEMU: without AVX2, and with AVX2 but without AVX-512 and VNNI."""


def noise(model: Model, count: int = 2) -> FloatArray:
    """Prepared images that are random numbers."""
    return np.random.default_rng(0).normal(0, 14, (count, *model.graph.input_shape)).astype(np.float32)


def real_images(name: str, model: Model) -> FloatArray:
    """Prepared images that the model was made for. Skips the test where they are missing."""
    where = DATA[name]
    if where != "digits":
        if not (SHARED / "data" / where).exists():
            pytest.skip(f"{where} is not here")
        where = str(SHARED / "data" / where)
    found = load_pixels(load_evaluation(where), model.preparation, limit=COUNT[name], progress=False, workers=1)
    return np.stack([normalise(image, model.preparation) for image in found.images])


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("target", "optimised"), [("onnx", True), ("onnx-exact", True), ("onnx-exact", False)])
def test_networks_have_the_same_logits(name: str, target: str, optimised: bool) -> None:
    model = NETWORKS[name]()
    found = in_onnx_runtime(exported(model, target), noise(model), optimised)
    assert np.array_equal(found, IntegerRunner(model)(noise(model)))


def test_pairs_of_levels_for_both_halves_of_9_bits_fit_16_bits() -> None:
    """A channel of 9 bits becomes two channels with the same levels, whose products may be added in 16 bits."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    b = Builder(1, side=8)
    x = b.put(ReLU((b.layer(Conv((0,), "a", 1, (3, 3)), b.scale(nine_bit=True)),)))
    model = b.finish(b.layer(Conv((x,), "b", 32, (1, 1)), b.scale(0), rescalings=64))
    assert np.abs(model.weights["b"].weight.levels).max() > 64
    graph = onnx.load_from_string(exported(model, "onnx")).graph
    floats = {node.input[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    arrays = [onnx.numpy_helper.to_array(held) for held in graph.initializer if held.name in floats]
    (levels,) = (array.astype(np.int64) for array in arrays if array.ndim == 4)
    assert 0 < np.abs(levels).sum(1).max() <= 128
    assert np.array_equal(in_onnx_runtime(exported(model, "onnx"), noise(model)), IntegerRunner(model)(noise(model)))


@pytest.mark.parametrize("target", EXACT)
@pytest.mark.parametrize("seed", range(24))
def test_networks_of_random_operations_have_the_same_logits(seed: int, target: str) -> None:
    model = network(seed)
    found = in_onnx_runtime(exported(model, target), noise(model))
    assert np.array_equal(found, IntegerRunner(model)(noise(model)))


@pytest.mark.slow
@pytest.mark.parametrize("cpu", CPUS)
def test_networks_have_the_same_logits_on_every_processor(cpu: str, tmp_path) -> None:
    """`loud` has the largest products: kernels that add two of them in 16 bits would saturate. In the file of `digits`,
    most levels are multiplied by as much as these kernels allow."""
    emulator = shutil.which("qemu-x86_64")
    if emulator is None:
        pytest.skip("no qemu-x86_64: apt-get install qemu-user")
    ort = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    held = {}
    models = {name: NETWORKS[name]() for name in ("loud", "nine_bit", "mobile", "excited")}
    models["digits"] = sqz.read(zoo.find("digits"))
    for name, model in models.items():
        logits = IntegerRunner(model)(noise(model))
        for target in EXACT:
            key = f"{name} {target}"
            held[f"{key}.network"] = np.frombuffer(exported(model, target), np.uint8)
            held |= {f"{key}.images": noise(model), f"{key}.logits": logits}
    np.savez(tmp_path / "cases.npz", **held)
    code = """
import sys
sys.path[:] = sys.argv[2:]
import numpy as np, onnxruntime as ort
options = ort.SessionOptions()
options.intra_op_num_threads, options.log_severity_level = 1, 3
cases = np.load(sys.argv[1])
for name in sorted({key.split(".")[0] for key in cases.files}):
    session = ort.InferenceSession(cases[name + ".network"].tobytes(), options, providers=["CPUExecutionProvider"])
    found = session.run(None, {"image": cases[name + ".images"]})[0]
    print(name, "equal" if np.array_equal(found, cases[name + ".logits"]) else "different")
"""
    command = [emulator, "-cpu", cpu, sys._base_executable, "-c", code, str(tmp_path / "cases.npz"), *sys.path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    expected = sorted(f"{name} {target} equal" for name in models for target in EXACT)
    assert sorted(done.stdout.split("\n")[:-1]) == expected, (ort.__version__, done.stderr[-2000:])


@pytest.mark.parametrize("target", ONNX)
@pytest.mark.parametrize("name", zoo.SHIPPED)
def test_what_ships_runs_in_onnx_runtime(name: str, target: str, tmp_path) -> None:
    """No convolution stays float, and the logits are the same. Only those of `--to onnx-qdq` may differ a little."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    model = sqz.read(zoo.find(name))
    images = real_images(name, model)
    found = in_onnx_runtime(exported(model, target), images, written=tmp_path / "run.onnx")
    expected = runner(model)(images)
    operators = Counter(node.op_type for node in onnx.load(tmp_path / "run.onnx").graph.node)
    assert operators["Conv"] == operators["FusedConv"] == 0
    if target in EXACT:
        assert np.array_equal(found, expected)
        assert operators["QLinearConv"] + operators["ConvInteger"] >= len(model.graph.layers)
        return
    assert operators["QLinearConv"] + operators["QGemm"] == len(model.graph.layers)
    step = model.scales[-1].step * (256 if model.scales[-1].wide else 1)
    difference = np.abs(found - expected)
    assert difference.max() <= STEPS[name] * step
    others = found.argmax(1) != expected.argmax(1)
    best, second = np.sort(expected)[others][:, ::-1][:, :2].T
    assert (best - second <= 2 * difference.max(1)[others]).all()  # two classes as good as equal
    assert others.sum() <= len(images) // 10


@pytest.mark.parametrize("name", zoo.SHIPPED)
def test_openvino_differs_by_less_than_a_step(name: str) -> None:
    """OpenVINO computes with 32 bits where the file has 64, and its kernels round in their own way."""
    ov = pytest.importorskip("openvino", reason="openvino is not installed")
    model = sqz.read(zoo.find(name))
    images, core = real_images(name, model)[:10], ov.Core()
    read = core.read_model(exported(model, "onnx"))
    read.reshape([1, *model.graph.input_shape])
    compiled = core.compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = np.concatenate([np.array(compiled([image[None]])[0]) for image in images])
    expected = runner(model)(images)
    step = model.scales[-1].step * (256 if model.scales[-1].wide else 1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=step)
    assert np.array_equal(found.argmax(1), expected.argmax(1))


@pytest.mark.parametrize("name", NETWORKS)
def test_layers_between_bytes_stay_integers(name: str, tmp_path) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    model = NETWORKS[name]()
    if targets(model)["onnx-qdq"]:
        pytest.skip(str(targets(model)["onnx-qdq"]))
    found = in_onnx_runtime(exported(model, "onnx-qdq"), noise(model), written=tmp_path / "run.onnx")
    operators = Counter(node.op_type for node in onnx.load(tmp_path / "run.onnx").graph.node)
    assert operators["Conv"] == operators["FusedConv"] == 0
    assert operators["QLinearConv"] + operators["QGemm"] == len(model.graph.layers)
    expected = IntegerRunner(model)(noise(model))
    assert np.abs(found - expected).max() <= 2 * model.scales[-1].step


@pytest.mark.parametrize("name", [*NETWORKS, "normalised"])
def test_float_networks_have_the_same_logits_up_to_rounding(name: str) -> None:
    model = normalised() if name == "normalised" else NETWORKS[name]().dequantised()
    found = in_onnx_runtime(exported(model, "onnx"), noise(model))
    expected = Runner(model)(noise(model))
    np.testing.assert_allclose(found, expected, rtol=0, atol=3e-6 * np.abs(expected).max())


def test_hostile_names_reach_no_name_of_the_file() -> None:
    names = ["image", "logits", "a/b\n\x1b[2J", "ünï", "\u202e" * 300, 'x"; rm -rf', "", "1"]
    b = Builder(0)
    x = 0
    for name in names:
        x = b.layer(Conv((x,), name, 4, (1, 1)), b.scale(0))
    model = replace(b.finish(b.put(GlobalAvgPool((x,)))), labels=("\x1b]0;", "a\0b", "{'", "ж"))
    for target in ONNX:
        onnx = pytest.importorskip("onnx", reason="onnx is not installed")
        data = exported(model, target)
        graph = onnx.load_from_string(data).graph
        given = [node.name for node in graph.node] + [tensor.name for tensor in graph.initializer]
        assert len(set(given)) == len(given)
        assert all(len(name) < 150 and name.isascii() and set(name) <= set(SAFE) for name in given)
        if target in EXACT:
            assert np.array_equal(in_onnx_runtime(data, noise(model)), IntegerRunner(model)(noise(model)))


SAFE = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-"


def test_a_file_says_how_images_are_prepared_and_what_the_classes_are_called() -> None:
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    model = replace(NETWORKS["mobile"](), labels=("tench", "ж", "a\nb"), provenance={"made by": "a test"})
    file = onnx.load_from_string(exported(model, "onnx"))
    about = {entry.key: json.loads(entry.value) for entry in file.metadata_props}
    assert about["labels"] == list(model.labels)
    assert about["preparation"] == json.loads(json.dumps(model.preparation.to_dict()))
    assert (about["outputs"], about["provenance"], about["target"]) == ("classes", {"made by": "a test"}, "onnx")
    assert [(each.domain, each.version) for each in file.opset_import] == [("", 20)]
    assert exported(model, "onnx") == exported(model, "onnx")


def test_what_a_target_cannot_express_is_refused_by_name(tmp_path, capsys) -> None:
    floats = NETWORKS["mobile"]().dequantised()
    b = Builder(1)
    x = b.put(AvgPool((b.layer(Conv((0,), "a", 3, (1, 1))),), (2, 2), (1, 1), dilation=(2, 2)))
    spread = b.finish(x)
    b = Builder(1)
    wide = b.finish(b.layer(Conv((0,), "last", 3, (3, 3)), b.scale(wide=True)))
    far = NETWORKS["far"]()
    for model, target, why in (
        (floats, "onnx-exact", "a float network has no exact form"),
        (spread, "onnx-qdq", "AvgPool: ONNX Runtime has no 8-bit mean"),
        (wide, "onnx-qdq", "last: with logits of 24 bits"),
        (far, "onnx-qdq", "d: a bias in steps of the products needs more than 32 bits"),
    ):
        with pytest.raises(UnsupportedOperation, match=f"^{why}"):
            exported(model, target)
        file, out = tmp_path / "model.sqz", tmp_path / "model.onnx"
        sqz.write(model, file)
        assert main(["export", str(file), "--to", target, "--out", str(out)]) == 1
        assert f"--to {target}: {why}" in capsys.readouterr().err
        assert not out.exists()
        assert main(["inspect", str(file)]) == 0
        assert f"not {target} ({why}" in capsys.readouterr().out


def test_logits_of_24_bits_that_are_one_matrix_product_are_taken() -> None:
    b = Builder(3, side=4)
    x = b.layer(Conv((0,), "a", 6, (2, 2), (2, 2)), b.scale(nine_bit=True))
    model = b.finish(b.layer(Conv((x,), "b", 5, (2, 2)), b.scale(wide=True)))
    assert isinstance(model.graph.ops[-1], Flatten)
    found = in_onnx_runtime(exported(model, "onnx-qdq"), noise(model))
    expected = IntegerRunner(model)(noise(model))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-2 * np.abs(expected).max())


def test_the_verb_replaces_only_files_that_it_wrote(tmp_path, capsys) -> None:
    out = tmp_path / "digits.onnx"
    command = ["export", "digits", "--to", "onnx-exact", "--out", str(out)]
    out.write_text("mine")
    assert main(command) == 2
    assert out.read_text() == "mine"
    pytest.importorskip("onnx_ir", reason="onnx-ir is not installed")
    assert main([*command, "--force"]) == 0
    capsys.readouterr()
    assert main([*command, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["files"] == [{"path": str(out), "bytes": out.stat().st_size}]
    assert (said["to"], said["integer"]) == ("onnx-exact", True)
    for wrong in (tmp_path / "digits.txt", tmp_path / "none" / "a.onnx", tmp_path):
        assert main([*command[:-1], str(wrong)]) == 2


def test_exporting_needs_no_pytorch(tmp_path) -> None:
    pytest.importorskip("onnx_ir", reason="onnx-ir is not installed")
    code = """
import sys
sys.modules.update(dict.fromkeys(["torch", "safetensors", "datasets", "sklearn", "tqdm"]))
from squeezenet.cli.main import main
raise SystemExit(main(["export", "digits", "--to", "onnx", "--out", sys.argv[1]]))
"""
    assert "opset 20, 8-bit layers" in python(code, str(tmp_path / "digits.onnx"))


@pytest.mark.parametrize("target", EXACT)
def test_a_network_may_be_one_layer(target: str) -> None:
    b = Builder(2, side=2)
    x = b.put(Flatten((0,)))
    model = b.finish(b.layer(Linear((x,), "all", 3), b.scale()))
    found = in_onnx_runtime(exported(model, target), noise(model))
    assert np.array_equal(found, IntegerRunner(model)(noise(model)))
