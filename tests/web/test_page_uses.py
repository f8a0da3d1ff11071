"""The ways to use the page of `export --to web`: giving it images, a slow processor, a screen reader, a server."""

import base64
import logging
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import squeezenet
from support.webassembly import WEB

pytestmark = pytest.mark.long
AXE = WEB / "node_modules" / "axe-core" / "axe.min.js"
"""npm install --prefix web --no-save --no-package-lock axe-core"""


def shot(page, name):
    if os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(os.environ["SCREENSHOTS"], f"{name}.png"), full_page=True)


@pytest.fixture
def site(exported, served):
    """The address of a page, an image, and the label that the page must give it."""
    folder, address = served
    exported(folder / "page", "cifar10-small")
    pixels = np.random.default_rng(3).integers(0, 256, (60, 80, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "picture.png")
    best = squeezenet.load("cifar10-small").classify(Image.fromarray(pixels))[0]
    expected = f"{best.label}, {100 * best.probability:.1f}%"
    return SimpleNamespace(address=f"{address}/page/", picture=folder / "picture.png", expected=expected)


def opened(browser, address, **options):
    """A page whose troubles are collected."""
    page = browser.new_context(**options).new_page()
    page.troubles = []
    page.on("console", lambda message: page.troubles.append(message.text))
    page.on("pageerror", lambda error: page.troubles.append(str(error)))
    page.goto(address)
    return page


def gives(page, expected):
    page.locator("#status", has_text=expected).wait_for()
    assert page.troubles == []
    page.context.close()


def test_an_image_that_is_dropped(browser, site):
    page = opened(browser, site.address)
    devtools, box = page.context.new_cdp_session(page), page.locator("#drop").bounding_box()
    data = {"items": [], "files": [str(site.picture)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        where = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
        devtools.send("Input.dispatchDragEvent", {"type": kind, "data": data, **where})
        if kind != "drop":
            page.locator("#drop.over").wait_for()
    gives(page, site.expected)


def test_an_image_that_is_pasted(browser, site):
    page = opened(browser, site.address)
    page.evaluate(
        """(text) => {
            const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
            const clipboardData = new DataTransfer();
            clipboardData.items.add(new File([bytes], "picture.png", { type: "image/png" }));
            document.dispatchEvent(new ClipboardEvent("paste", { clipboardData }));
        }""",
        base64.b64encode(site.picture.read_bytes()).decode(),
    )
    gives(page, site.expected)


def test_a_photograph_from_the_camera_of_a_phone(browser, site):
    """The system's camera takes it; the page only gets its file."""
    page = opened(browser, site.address, viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True)
    assert page.locator("#photo").get_attribute("capture") == "environment"
    with page.expect_file_chooser() as chosen:
        page.get_by_text("Take a photo").tap()
    chosen.value.set_files(site.picture)
    gives(page, site.expected)


def test_an_image_that_comes_before_the_model(browser, site):
    page = browser.new_context().new_page()
    page.troubles = []
    held = []
    page.route("**/*.sqz", lambda route: held.append(route))
    page.goto(site.address, wait_until="commit")
    page.set_input_files("#file", site.picture)
    page.locator("#status", has_text="Classifying").wait_for()
    held[0].continue_()
    gives(page, site.expected)


def test_a_slow_processor_leaves_the_page_responsive(exported, served, browser, site):
    """At a quarter of the speed, no task of the page's thread is as long as a classification."""
    folder, address = served
    exported(folder / "large", "imagenet-small")
    page = opened(browser, f"{address}/large/")
    page.locator("#status", has_text="Ready.").wait_for()
    devtools = page.context.new_cdp_session(page)
    devtools.send("Emulation.setCPUThrottlingRate", {"rate": 4})
    devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.evaluate(
        """() => {
            globalThis.longest = 0;
            new PerformanceObserver((list) => {
                for (const { duration } of list.getEntries()) longest = Math.max(longest, duration);
            }).observe({ type: "longtask" });
        }"""
    )
    before = seconds_of_tasks(devtools)
    page.set_input_files("#file", site.picture)
    page.locator("li").nth(4).wait_for()
    busy = 1000 * (seconds_of_tasks(devtools) - before)
    longest = page.evaluate("new Promise((done) => setTimeout(() => done(longest), 100))")
    milliseconds = float(page.locator(".figures").inner_text().split(", ")[1].split()[0])
    told = "milliseconds: longest task %.0f, processor in all tasks %.0f, classification %.0f"  # --log-cli-level INFO
    logging.getLogger(__name__).info(told, longest, busy, milliseconds)
    assert longest < max(milliseconds, 200)
    gives(page, page.locator("li span").first.inner_text())


def seconds_of_tasks(devtools):
    """Seconds that the page's thread has run."""
    found = {each["name"]: each["value"] for each in devtools.send("Performance.getMetrics")["metrics"]}
    return found["TaskDuration"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(browser, site, scheme):
    if not AXE.is_file():
        pytest.skip("needs axe-core: npm install --prefix web --no-save --no-package-lock axe-core")
    page = opened(browser, site.address, color_scheme=scheme)
    page.evaluate(AXE.read_text())
    rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    for given in (False, True):
        if given:
            page.set_input_files("#file", site.picture)
            page.locator("#status", has_text=site.expected).wait_for()
            page.locator("summary").click()
        found = page.evaluate("(values) => axe.run({ runOnly: { type: 'tag', values } })", rules)
        assert [(fault["id"], [node["html"] for node in fault["nodes"]]) for fault in found["violations"]] == []
        assert len(found["passes"]) > 15
    shot(page, f"axe-{scheme}")
    gives(page, site.expected)


def test_what_a_screen_reader_is_told(browser, site):
    """The accessibility tree: names and roles of controls, a live region that says the label, lists of results."""
    page = opened(browser, site.address)
    page.set_input_files("#file", site.picture)
    page.locator("#status", has_text=site.expected).wait_for()
    devtools = page.context.new_cdp_session(page)
    nodes = [node for node in devtools.send("Accessibility.getFullAXTree")["nodes"] if not node["ignored"]]
    told = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes]
    properties = {(node["role"]["value"], each["name"]): each["value"].get("value") for node in nodes
                  for each in node.get("properties", [])}  # fmt: skip
    assert properties["status", "live"] == "polite"
    assert ("StaticText", site.expected) in told
    assert ("button", "Choose an image") in told
    assert [name for role, name in told if role == "heading"] == ["What is in this image?", "cifar10-small"]
    assert ("image", "Your image, picture.png") in told
    assert ("list", "Best classes of cifar10-small") in told
    assert sum(role == "listitem" for role, _ in told) == 5
    controls = {"button", "link", "textbox", "DisclosureTriangle", "checkbox", "combobox"}
    assert all(name for role, name in told if role in controls), told
    gives(page, site.expected)


def test_the_server_serves_the_same_page(exported, browser, site, tmp_path):
    for package in ("uvicorn", "starlette", "prometheus_client"):
        pytest.importorskip(package, reason="the extra [serve] is not installed")
    from support.serving import serving

    with serving("cifar10-small", page=tmp_path / "page") as server:
        page = opened(browser, f"http://127.0.0.1:{server.port}/")
        page.set_input_files("#file", site.picture)
        gives(page, site.expected)
