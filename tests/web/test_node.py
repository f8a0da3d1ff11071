"""The module of `web/` in Node: the logits of Python, every bit of them, with SIMD and without."""

import gzip
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import squeezenet
from squeezenet import sqz
from squeezenet.model import Model
from squeezenet.runtime.integers import IntegerRunner
from squeezenet.runtime.reference import Runner
from support import ROOT
from support.engine_networks import EVERY_SUM, Builder, network, normalised, sparse
from support.webassembly import built, node

MOST_BYTES = 50_000
"""Of an engine, gzipped."""


def logits_in_node(cases: list[dict[str, Any]], folder: Path) -> list[np.ndarray]:
    """Each case has `model`, and `pixels` with `width` and `height`, or `prepared`: names of files in `folder`."""
    cases = [{**case, "out": f"out-{i}.f32"} for i, case in enumerate(cases)]
    (folder / "cases.json").write_text(json.dumps(cases))
    command = [node(), str(Path(__file__).with_name("logits.mjs")), str(built() / "squeezenet.js"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [np.fromfile(folder / case["out"], np.float32) for case in cases]


def test_each_operation(tmp_path: Path) -> None:
    models: list[Model] = [*(make() for make in EVERY_SUM.values()), sparse(), normalised()]
    models += [form for seed in range(4) for form in (network(seed), network(seed).dequantised())]
    models += [network(seed, zeros=0.9) for seed in range(4, 12)]  # layers in lists
    cases, expected = [], []
    for i, model in enumerate(models):
        image = Builder(9, model.preparation.crop, model.preparation.channels).images(1) / (1 if model.scales else 10)
        (tmp_path / f"{i}.sqz").write_bytes(sqz.encode(model))
        image.astype(np.float32).tofile(tmp_path / f"{i}.f32")
        runner = IntegerRunner(model) if model.scales else Runner(model)
        expected += 2 * [(model, runner(image.astype(np.float32))[0])]
        cases += [{"model": f"{i}.sqz", "prepared": f"{i}.f32", "simd": simd} for simd in (True, False)]
    for (model, wanted), found in zip(expected, logits_in_node(cases, tmp_path), strict=True):
        if model.scales:
            assert np.array_equal(found, wanted)
        else:
            np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("name", ["digits", "cifar10-small", pytest.param("imagenet", marks=pytest.mark.long)])
def test_images_of_any_size(name: str, tmp_path: Path) -> None:
    """Resizing, cropping and transparency included."""
    path = ROOT / "src" / "squeezenet" / "zoo" / f"{name}.sqz"
    shutil.copy(path, tmp_path / path.name)
    random = np.random.default_rng(0)
    classifier = squeezenet.load(path)
    cases, expected = [], []
    for width, height in [(1, 1), (7, 300), (64, 48), (233, 181), (1000, 33), (1201, 903)]:
        pixels = random.integers(0, 256, (height, width, 4), np.uint8)
        pixels[: height // 2, :, 3] = 255
        file = f"{width}x{height}"
        pixels.tofile(tmp_path / file)
        for simd in (True, False):
            cases.append({"model": path.name, "pixels": file, "width": width, "height": height, "simd": simd})
            expected.append(np.float32(classifier.see(Image.fromarray(pixels))))
    for case, wanted, found in zip(cases, expected, logits_in_node(cases, tmp_path), strict=True):
        assert np.array_equal(found, wanted), case


def test_the_package_tests_itself() -> None:
    subprocess.run([node(), "--test", "test/"], cwd=built(), check=True, capture_output=True)


def test_the_engines_are_small_and_need_nothing() -> None:
    for name in ("engine.wasm", "engine-scalar.wasm"):
        data = (built() / name).read_bytes()
        assert len(gzip.compress(data, 9, mtime=0)) <= MOST_BYTES
        script = f"console.log(WebAssembly.Module.imports(new WebAssembly.Module(fs.readFileSync('{name}'))))"
        done = subprocess.run([node(), "-e", script], cwd=built(), capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[]"


@pytest.mark.long  # compiles everything once more
def test_the_engines_are_the_same_bytes_wherever_they_are_built(tmp_path: Path) -> None:
    for name in ("web", "engine"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("build", "*.wasm"))
    subprocess.run(["make", "-C", tmp_path / "web"], check=True, capture_output=True)
    for name in ("engine.wasm", "engine-scalar.wasm"):
        assert (tmp_path / "web" / name).read_bytes() == (built() / name).read_bytes()


def test_the_package_says_what_it_is(tmp_path: Path) -> None:
    package = json.loads((ROOT / "web" / "package.json").read_text())
    assert package["version"] == squeezenet.__version__
    assert (ROOT / "web" / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    for name in package["files"]:
        assert name.endswith(".wasm") or (ROOT / "web" / name).is_file()
    module, types = ((ROOT / "web" / f"squeezenet{end}").read_text() for end in (".js", ".d.ts"))
    exported = re.findall(r"^export (?:async )?(?:function|class|const) (\w+)", module, re.MULTILINE)
    assert sorted(exported) == sorted(re.findall(r"^export (?:function|class|const) (\w+)", types, re.MULTILINE))
    assert not re.search(r"\beval\b|new Function|import\(", module)
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is missing: the package was not packed")
    command = [npm, "pack", "--json", "--offline", "--pack-destination", str(tmp_path)]
    done = subprocess.run(command, cwd=built(), capture_output=True, text=True, check=True)
    (packed,) = json.loads(done.stdout)
    assert {file["path"] for file in packed["files"]} == {*package["files"], "package.json"}


EARLY_IMAGE = """
const said = [], soon = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
Object.assign(globalThis, { onmessage: null, postMessage: (message) => said.push(message) });
await import("./worker.js");
for (const data of [{ index: 0 }, { index: 2 }, { image: "image", number: 1 }, { index: 1 }]) {
  onmessage({ data });
  await soon(5);
}
while (said.filter(({ loaded }) => loaded).length < 3) await soon(5);
await soon(200);
console.log(said.filter(({ found }) => found).map(({ index }) => index).sort().join(" "));
"""
SLOW = "const after = (done) => setTimeout(() => done([]), 20), classify = () => new Promise(after);"


def test_each_model_of_a_page_answers_once_for_an_image_that_comes_before_some_of_them(tmp_path: Path) -> None:
    shutil.copy(ROOT / "src/squeezenet/export/web/page/worker.js", tmp_path)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "squeezenet.js").write_text(f"{SLOW} export const load = async () => ({{ classify }});")
    (tmp_path / "run.js").write_text(EARLY_IMAGE)
    done = subprocess.run([node(), "run.js"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "0 1 2\n", done.stderr
