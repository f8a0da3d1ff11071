"""The page of a campaign, also in a browser, and the paper beside it."""

import json
import os
import re
import shutil

import pytest

from squeezenet.cli.main import main
from squeezenet.explore import work as works
from squeezenet.explore.results import read_results, write_results
from squeezenet.explore.sweeps import trials
from squeezenet.report.design_space import write_report
from support.exploring import QUICK, stub


@pytest.fixture(scope="module")
def campaign(trial, tmp_path_factory):
    """Results of all sweeps, three seeds each, as if they had been measured."""
    out = tmp_path_factory.mktemp("campaign")
    rows = {}
    for sweep in ("sr", "pct3x3", "bypass", "stem"):
        for made in trials(trial, sweep, None, seeds=3):
            row = stub(made, None, None)
            row["top1"] += made.recipe.seed
            rows[made.name] = row
    write_results(out / "results.jsonl", list(rows.values()))
    write_report(out / "report.html", read_results(out))
    return out


def test_the_report_stands_alone(campaign):
    page = (campaign / "report.html").read_text()
    for said in (
        "Figure 3 (a)",
        "Figure 3 (b)",
        "Table 3",
        "±",
        "86",
        "Networks that nothing dominates",
        " ms",
        "v1.0 and v1.1",
    ):
        assert said in page
    assert re.findall(r"(?:src|href)=[\"'](?!#)([^\"']*)", page) == []  # nothing to fetch
    assert "<script" not in page
    links = set(re.findall(r'xlink:href="#(trial-[0-9a-f]+)"', page))
    assert links
    assert len(links) == 5 + 6 + 3 - 2 + 2  # two networks belong to two sweeps; three seeds are one point
    assert links == set(re.findall(r'<div id="(trial-[0-9a-f]+)"', page))
    assert page.count("squeezenet train --model") == page.count("squeezenet compress RUN") == len(links)


def test_a_watched_page_reads_itself_again_until_the_end(trial, data, tmp_path, monkeypatch, capsys):
    page, seen = tmp_path / "report.html", []

    def measured(trial, *rest):
        seen.append(page.read_text())
        if len(seen) == 3:
            raise KeyboardInterrupt
        return stub(trial, *rest)

    monkeypatch.setattr(works, "measure", measured)
    command = ["explore", *QUICK, "--vary", "sr", "--values", "0.25,0.5,0.75", "--out", str(tmp_path), "--watch"]
    assert main(command) == 130
    assert all('<meta http-equiv="refresh" content="10">' in text for text in seen)
    assert [text.count("squeezenet train --model") for text in seen] == [0, 1, 2]
    assert "refresh" not in page.read_text()
    assert "running" not in page.read_text()
    assert page.read_text().count("squeezenet train --model") == 2


def test_the_report_in_a_browser(campaign, tmp_path):
    browsers = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium is installed")
    with browsers.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 800})  # a phone
        asked, troubles = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: troubles.append(message.text))
        page.goto((campaign / "report.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert page.evaluate("document.querySelectorAll('svg').length") >= 8
        assert page.locator("details[open]").count() == 0
        page.locator("svg a").last.click(force=True)
        page.wait_for_function("location.hash.startsWith('#trial-')")
        command = page.locator(page.evaluate("location.hash")).locator("code").first
        assert command.is_visible()
        assert command.inner_text().startswith("squeezenet train")
        if os.environ.get("SCREENSHOTS"):
            page.screenshot(path=os.environ["SCREENSHOTS"], full_page=True)
        page.emulate_media(media="print")
        page.set_viewport_size({"width": 718, "height": 1000})  # A4 between its margins
        assert page.evaluate("document.documentElement.scrollWidth") <= 718
        assert page.locator("details code").last.evaluate("it => it.getClientRects().length") > 0
        assert [url for url in asked if not url.startswith("file:")] == []
        assert troubles == []
        browser.close()


def reproduce(capsys, *arguments, code=0):
    assert main(["reproduce", *map(str, arguments), "--json"]) == code
    return json.loads(capsys.readouterr().out)["rows"] if code == 0 else capsys.readouterr().err


def test_the_paper_beside_ours(campaign, capsys):
    rows = reproduce(capsys, "figure3", "--results", campaign)
    assert [row["value"] for row in rows] == [0.125, 0.25, 0.5, 0.75, 1.0, 0.01, 0.125, 0.25, 0.5, 0.75, 0.99]
    assert [round(row["recomputed"]["parameters"], -3) for row in rows[:5]] == [
        1248000, 1967000, 3404000, 4842000, 6279000,
    ]  # fmt: skip
    assert rows[3]["paper"] == {"megabytes": 19, "top1": None, "top5": 86.0}
    for row in rows:
        (told,) = row["measured"]
        assert (told["source"], told["seeds"], told["images"]) == ("stub", 3, 120)
        assert told["deviation"] == pytest.approx(1.0)
    bypass = reproduce(capsys, "table3")
    assert [row["recomputed"]["parameters"] for row in bypass] == [1248424, 1248424, 1248424 + 341248]
    assert all(row["measured"] == [] for row in bypass)
    assert main(["reproduce", "figure3", "--results", str(campaign)]) == 0
    assert "± 1.00" in capsys.readouterr().out


def test_table_1_counts_weights(campaign, capsys, tmp_path):
    rows = reproduce(capsys, "table1")
    assert sum(row["recomputed"]["parameters"] for row in rows) == 1248424
    for row in rows:
        assert row["recomputed"]["parameters"] == row["paper"]["parameters"]
        assert abs(row["recomputed"]["after"] - row["paper"]["after"]) <= 2
        assert row["measured"] is None
    assert main(["reproduce", "table1"]) == 0
    assert "421,098" in capsys.readouterr().out
    for wrong in (["table1", "--results", campaign], ["table3", "--weights", "x"], ["figure3", "--results", tmp_path],
                  ["table2"], ["table1", "--weights", "digits"]):  # fmt: skip
        assert reproduce(capsys, *wrong, code=2).count("\n") == 1
