"""ONNX files from strangers: files outside, damage, networks that ask for too much."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the extra [onnx] is not installed")
pytest.importorskip("onnx_ir", reason="the extra [onnx] is not installed")


from squeezenet.errors import LimitExceeded, ModelError
from squeezenet.formats import About, from_onnx
from squeezenet.importing.onnx.wire import count_parts
from squeezenet.limits import MAX_ONNX_PARTS
from squeezenet.preparation import Preparation
from support.onnx_files import NODE, SMALL, X, answers_are_the_same, head, refused, saved


def test_external_data_are_read_from_the_folder_of_the_model_only(tmp_path):
    nodes, weights = head("x")
    folder = tmp_path / "models"
    folder.mkdir()
    path = saved(folder / "n.onnx", nodes, weights)
    plain = answers_are_the_same(path)
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="data.bin", size_threshold=0)
    assert np.array_equal(from_onnx(path, SMALL).weights["fc"].weight.values(), plain.weights["fc"].weight.values())
    (folder / "data.bin").rename(tmp_path / "data.bin")
    refused(path, "data.bin")
    for location in ("../data.bin", str(tmp_path / "data.bin"), "link"):
        model = onnx.load(path, load_external_data=False)
        for tensor in model.graph.initializer:
            for entry in tensor.external_data:
                entry.value = location if entry.key == "location" else entry.value
        path.write_bytes(model.SerializeToString())
        if location == "link":
            (folder / "link").symlink_to(tmp_path / "data.bin")
        refused(path, "outside of the model's folder")


def many_parts():
    return b"\x3a" + _length(bytes([0x0A, 0x00]) * (1 << 24))  # a graph of empty nodes


def deep():
    """Graphs in attributes of nodes of graphs."""
    inner = b""
    for _ in range(200):
        attribute = b"\x32" + _length(inner)
        node = b"\x2a" + _length(attribute)
        inner = b"\x0a" + _length(node)
    return b"\x3a" + _length(inner)


def _length(data):
    size, count = b"", len(data)
    while count >= 128:
        size, count = size + bytes([count % 128 + 128]), count // 128
    return size + bytes([count]) + data


DAMAGE = {
    "many parts": many_parts,
    "deep": deep,
    "not ONNX": lambda: b"hello, this is no network",
    "empty": lambda: b"",
    "cut off": lambda: b"\x3a\xff\xff\xff\x0f" + b"\x0a\x02\x08\x01",
    "group": lambda: b"\x3b" * 1000,
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_files_are_refused_cheaply(kind, tmp_path):
    path = tmp_path / "n.onnx"
    path.write_bytes(DAMAGE[kind]())
    refused(path)


def test_a_huge_initialiser_that_has_no_bytes_is_refused(tmp_path):
    nodes, weights = head("x")
    path = saved(tmp_path / "n.onnx", nodes, weights)
    model = onnx.load(path)
    model.graph.initializer[0].dims[:] = [5, 1 << 40]
    path.write_bytes(model.SerializeToString())
    refused(path)


def bombs():
    """Name -> nodes before `z` and weights."""
    many = np.array([1 << 14, 1 << 13])
    doubled = [NODE("ConstantOfShape", ["many"], ["a0"])]
    doubled += [NODE("Add", [f"a{i}", f"a{i}"], [f"a{i + 1}"]) for i in range(30)]
    yield "computed", [*doubled, NODE("Mul", ["x", "a30"], ["z"])], {"many": many}
    yield "filled", [NODE("ConstantOfShape", ["many"], ["a"]), NODE("Mul", ["x", "a"], ["z"])], {"many": many * 100}
    yield "range", [NODE("Range", ["a", "b", "c"], ["r"]), NODE("Mul", ["x", "r"], ["z"])], {
        "a": np.array(0), "b": np.array(1 << 40), "c": np.array(1)}  # fmt: skip
    yield "expanded", [NODE("Expand", ["x", "many"], ["z"])], {"many": np.array([1, 3, 1 << 15, 1 << 15])}
    yield "enlarged", [NODE("Resize", ["x", "", "s"], ["z"])], {"s": np.array([1, 1, 4096, 4096], np.float32)}
    grown = [NODE("Concat", [f"c{i}", f"c{i}"], [f"c{i + 1}"], axis=1) for i in range(40)]
    yield "doubled", [NODE("Relu", X, ["c0"]), *grown, NODE("Identity", ["c40"], ["z"])], {}
    padded = NODE("Pad", ["x", "p"], ["z"])
    yield "padded", [padded], {"p": np.array([0, 0, 1 << 20, 1 << 20, 0, 0, 0, 0])}
    kernel = NODE("ConstantOfShape", ["k"], ["w"])
    yield "kernels", [kernel, NODE("Conv", ["x", "w"], ["z"], pads=[8, 8, 8, 8])], {"k": np.array([1 << 20, 3, 9, 9])}
    chain = [NODE("Add", [f"r{i}", f"r{i}"], [f"r{i + 1}"]) for i in range(3000)]
    yield "chain", [NODE("Sigmoid", X, ["r0"]), *chain, NODE("Erf", ["r3000"], ["z"])], {}


@pytest.mark.parametrize("bomb", list(bombs()), ids=lambda bomb: bomb[0])
def test_networks_that_ask_for_too_much_are_refused(bomb, tmp_path):
    _, nodes, extra = bomb
    last, weights = head("z")
    refused(saved(tmp_path / "n.onnx", nodes + last, {**weights, **extra}))


def test_a_huge_image_is_refused(tmp_path):
    nodes, weights = head("x")
    refused(saved(tmp_path / "n.onnx", nodes, weights, image=(1, 3, 1 << 20, 1 << 20)), kind=LimitExceeded)


def test_a_cycle_is_refused(tmp_path):
    last, weights = head("z")
    nodes = [NODE("Add", ["x", "b"], ["a"]), NODE("Relu", ["a"], ["b"]), NODE("Relu", ["b"], ["z"])]
    refused(saved(tmp_path / "n.onnx", nodes + last, weights), "computed later or nowhere")


def test_operators_of_other_versions_are_refused(tmp_path):
    nodes, weights = head("x")
    refused(saved(tmp_path / "n.onnx", nodes, weights, opset=6), "opset 6")
    refused(saved(tmp_path / "m.onnx", nodes, weights, opset=99), "opset 99")


def test_images_of_another_size_are_refused(tmp_path):
    nodes, weights = head("x")
    path = saved(tmp_path / "n.onnx", nodes, weights, image=(1, 3, 24, 24))
    refused(path, "24 x 24", "16 x 16")
    about = About(Preparation(16, 16))
    assert from_onnx(saved(path, nodes, weights, image=("n", 3, "h", "w")), about).graph.input_shape == (3, 16, 16)


def test_fields_are_counted():
    assert count_parts(b"") == 0
    with pytest.raises(ModelError, match=f"{MAX_ONNX_PARTS:,}"):
        count_parts(many_parts())
