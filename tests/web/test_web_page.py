"""`export --to web`: the folder, and the page in Chromium."""

import base64
import gzip
import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import squeezenet
from squeezenet.cli.main import main
from squeezenet.export.web import write
from support import ROOT
from support.webassembly import built

ZOO = ROOT / "src" / "squeezenet" / "zoo"
AIM = 314_645
"""Bytes of TensorFlow.js 4.22 alone: wasm SIMD, core, backend, converter; gzip."""


def test_a_page_for_a_thousand_classes_is_smaller_than_the_runtime_of_tensorflow_js(exported, tmp_path):
    found = exported(tmp_path / "page", "imagenet-small")
    assert found["download"] <= AIM
    page = [path.name for path in (ROOT / "src/squeezenet/export/web/page").iterdir() if path.suffix != ".md"]
    text = [*page, "squeezenet.js"]
    packed = sum(len(gzip.compress((tmp_path / "page" / name).read_bytes(), 9, mtime=0)) for name in text)
    assert found["download"] == packed + found["engine"] + (ZOO / "imagenet-small.sqz").stat().st_size
    assert f"{found['download']:,} bytes" in (tmp_path / "page" / "README.md").read_text()


def test_a_later_export_replaces_the_page_and_no_other_file(exported, tmp_path):
    exported(tmp_path / "page", "digits", "digits")
    assert {path.name for path in (tmp_path / "page/models").iterdir()} >= {"digits.sqz", "digits-2.sqz"}
    (tmp_path / "page" / "mine.txt").write_text("mine")
    exported(tmp_path / "page", "cifar10-small")
    assert [path.name for path in (tmp_path / "page/models").glob("*.sqz")] == ["cifar10-small.sqz"]
    assert (tmp_path / "page" / "mine.txt").exists()


def test_an_engine_that_was_not_built_is_one_line(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(write, "ENGINES", ("missing.wasm",))
    assert main(["export", "digits", "--to", "web", "--out", str(tmp_path / "page")]) != 0
    error = capsys.readouterr().err
    assert "make -C web" in error
    assert error.count("\n") == 1
    assert main(["export", "digits", "digits", "--to", "c", "--out", str(tmp_path / "c")]) == 2
    assert "several models: only for --to web" in capsys.readouterr().err


@pytest.mark.long
def test_the_page_in_a_browser(exported, served, browser):
    folder, address = served
    exported(folder / "below", "cifar10-small", "digits")
    picture = np.random.default_rng(0).integers(0, 256, (90, 130, 3), np.uint8)
    Image.fromarray(picture).save(folder / "picture.png")
    context = browser.new_context(viewport={"width": 390, "height": 800}, color_scheme="dark")  # a phone
    page = context.new_page()
    troubles: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    context.on("request", lambda request: asked.append(request.url))
    page.goto(f"{address}/below/")
    page.locator("#status", has_text="Ready.").wait_for()
    # by the keyboard alone: the first stop is the button that chooses a file
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "file"
    page.set_input_files("#file", folder / "picture.png")
    page.locator("li").nth(9).wait_for()
    best = squeezenet.load("cifar10-small").classify(Image.fromarray(picture))[0]
    assert page.locator("li").first.inner_text().split("\n") == [best.label, f"{100 * best.probability:.1f}%"]
    assert page.locator("[role=status]").inner_text().startswith(f"cifar10-small: {best.label}, ")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    if os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(os.environ["SCREENSHOTS"], "phone.png"), full_page=True)
        page.emulate_media(color_scheme="light")
        page.set_viewport_size({"width": 1100, "height": 800})
        page.screenshot(path=Path(os.environ["SCREENSHOTS"], "wide.png"), full_page=True)
    # a file that is no image, and then an image again
    page.set_input_files("#file", ROOT / "LICENSE")
    page.locator("#status", has_text="not an image").wait_for()
    page.evaluate("navigator.serviceWorker.ready.then(() => {})")
    context.set_offline(True)
    page.reload()
    page.locator("#status", has_text="Ready.").wait_for()
    page.set_input_files("#file", folder / "picture.png")
    page.locator("li").nth(9).wait_for()
    assert troubles == []
    assert all(url.startswith((f"{address}/below/", "blob:")) for url in asked), asked
    assert not any("scalar" in url for url in asked)
    assert sum(url.endswith("digits.sqz") for url in asked) <= 3  # the worker, its service worker; offline


@pytest.mark.long
def test_logits_in_chromium_are_those_of_python(exported, served, browser):
    folder, address = served
    exported(folder / "page", "imagenet-small", "digits")
    page = browser.new_page()
    page.goto(f"{address}/page/")
    random = np.random.default_rng(1)
    script = """async ([model, data, simd]) => {
        const { load } = await import("./squeezenet.js");
        const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
        return Array.from(await (await load(model, { simd })).logits(new Blob([bytes])));
    }"""
    for name in ("imagenet-small", "digits"):
        for width, height in [(300, 200), (31, 77), (1000, 700)]:
            image = Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8))
            image.save(data := io.BytesIO(), "png")
            wanted = np.float32(squeezenet.load(name).see(image))
            for simd in (True, False):
                text = base64.b64encode(data.getvalue()).decode()
                found = page.evaluate(script, [f"models/{name}.sqz", text, simd])
                assert np.array_equal(np.float32(found), wanted), (name, width, simd)


@pytest.mark.long
def test_an_extension_with_manifest_3_classifies_in_its_service_worker(chromium, tmp_path):
    kind, program = chromium
    extension = tmp_path / "extension"
    extension.mkdir()
    for path in (*(built() / name for name in ("squeezenet.js", "engine.wasm")), ZOO / "digits.sqz"):
        shutil.copy(path, extension)
    (extension / "background.js").write_text("""
        import { load } from "./squeezenet.js";
        const image = { data: new Uint8Array(300), width: 10, height: 10 };
        globalThis.found = load(new URL("digits.sqz", import.meta.url)).then((model) => model.classify(image));
    """)
    policy = {"extension_pages": "script-src 'self' 'wasm-unsafe-eval'; object-src 'self'"}
    worker = {"service_worker": "background.js", "type": "module"}
    manifest = {"manifest_version": 3, "name": "test", "version": "1", "background": worker}
    (extension / "manifest.json").write_text(json.dumps({**manifest, "content_security_policy": policy}))
    options = ["--headless=new", "--no-sandbox", f"--disable-extensions-except={extension}"]
    options.append(f"--load-extension={extension}")
    context = kind.launch_persistent_context(
        tmp_path / "profile", executable_path=program, headless=False, args=options
    )
    started = context.service_workers or [context.wait_for_event("serviceworker")]
    found = started[0].evaluate("() => globalThis.found")
    context.close()
    best = squeezenet.load("digits").classify(Image.new("RGB", (10, 10)))[0]
    assert (found[0]["label"], found[0]["index"]) == (best.label, best.index)
    assert found[0]["probability"] == pytest.approx(best.probability, rel=1e-12)
