"""The whole pipeline, as `make demo` runs it, held to what it promises."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from squeezenet import sqz
from squeezenet.report import page

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.mark.slow
def test_the_demo_keeps_its_promises(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "squeezenet", "demo", "--out", str(tmp_path / "demo"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result = json.loads(done.stdout)
    assert result["top1_before"] >= 98
    assert result["top1_after"] >= 98
    assert result["top1_before"] - result["top1_after"] <= 0.6  # two images of 359
    assert result["bytes"] == Path(result["file"]).stat().st_size <= 18_000
    assert result["ratio"] >= 55
    sizes = [stage["bytes"] for stage in result["rows"]]
    assert sizes == sorted(sizes, reverse=True)
    assert result["rows"][0]["bytes"] == 4 * sqz.read(result["file"]).parameters
    assert result["example"]["predictions"][0]["label"] in "0123456789"
    html = Path(result["report"]).read_text(encoding="utf-8")
    assert_self_contained(html)
    assert f"{result['bytes']:,}" in html
    assert html.count("<svg") == 3


def test_a_page_escapes_what_it_is_given(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    parts = [page.heading("x & y"), page.text("<script>"), page.table(["h"], [["<td>"]])]
    page.write_page(path, "a < b", parts, footer="&")
    html = path.read_text(encoding="utf-8")
    assert_self_contained(html)
    for text in ("a &lt; b", "x &amp; y", "&lt;script&gt;", "&lt;td&gt;"):
        assert text in html


def assert_self_contained(page: str) -> None:
    """Nothing is fetched and nothing runs: no script, and no address but the names of XML vocabularies."""
    assert "<script" not in page
    assert not re.findall(r'(?:src|href)="(?!#)[^"]', page)
    assert "url(http" not in page
    assert "@import" not in page
