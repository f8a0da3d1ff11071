"""A page of text, tables, figures and folded details in one HTML file, without a script or anything to fetch.

>>> write_page(Path("report.html"), "Demo", [table(["a"], [["1"]])])        # doctest: +SKIP
"""

import io
from base64 import b64encode
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, NewType

if TYPE_CHECKING:  # a page without figures does not wait for it
    from matplotlib.figure import Figure

from squeezenet.files import write_atomically

_STYLE = """
:root { color-scheme: light; --ink: #1a2330; --faint: #667085; --line: #d9dee7; }
* { box-sizing: border-box; }
body { font: 16px/1.55 system-ui, sans-serif; color: var(--ink); background: #fff;
       max-width: 72rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
p { margin: .4rem 0; max-width: 46rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; }
th, td { padding: .28rem .8rem .28rem 0; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--faint); font-weight: 600; white-space: normal; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; }
svg { max-width: 100%; height: auto; }
code { font-size: .9em; background: #f2f4f7; padding: .1em .3em; border-radius: 3px; }
.beside { display: flex; flex-wrap: wrap; gap: 0 1rem; }
.beside > div { flex: 1 1 20rem; max-width: 30rem; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: #f2f4f7; padding: .6em .8em; margin: .5rem 0;
      border-radius: 4px; font-size: .85rem; }
pre code { background: none; padding: 0; }
details { border-bottom: 1px solid var(--line); padding: .3rem 0; font-variant-numeric: tabular-nums; }
summary { cursor: pointer; }
details > div { padding: .2rem 0 .6rem 1rem; scroll-margin-top: 4rem; }
details > div:target { background: #fff8e6; }
svg a { cursor: pointer; }
.matrix { width: auto; }
.matrix th span { writing-mode: vertical-rl; transform: rotate(180deg); max-height: 12rem; overflow: hidden; }
.matrix th, .matrix td { padding: .15rem .4rem; text-align: center; border: 1px solid var(--line); }
.matrix tr > th:first-child { text-align: right; max-width: 14rem; overflow: hidden; text-overflow: ellipsis; }
.gallery { display: flex; flex-wrap: wrap; gap: .8rem; }
.gallery figure { margin: 0; width: 9rem; font-size: .8rem; overflow-wrap: anywhere; }
.gallery img { width: 9rem; height: 9rem; object-fit: contain; background: #f2f4f7; border-radius: 4px; }
footer { margin-top: 3rem; color: var(--faint); font-size: .85rem; }
@media print { .wide { overflow: visible; } table { font-size: .6rem; } th, td { padding-right: .35rem; } }
@media print { details::details-content { content-visibility: visible; display: block; } }
@media print { body { max-width: none; } h2 { break-after: avoid; } svg, table { break-inside: avoid; } }
"""


Html = NewType("Html", str)
"""A part of a page, in which every text from outside is escaped."""


def heading(text: str) -> Html:
    """The title of a section."""
    return Html(f"<h2>{escape(text)}</h2>")


def text(text: str) -> Html:
    """A paragraph."""
    return Html(f"<p>{escape(text)}</p>")


def code(text: str) -> Html:
    """Something to copy, such as a command."""
    return Html(f"<pre><code>{escape(text)}</code></pre>")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Html:
    """Rows of cells; the first column is aligned left."""
    lines = [_row(head, "th"), *(_row(row, "td") for row in rows)]
    return Html(f'<div class="wide"><table>{"".join(lines)}</table></div>')


def picture(figure: "Figure", description: str) -> Html:
    """A matplotlib figure, and what it shows in words."""
    return Html(f'<div role="img" aria-label="{escape(description)}">{_svg(figure)}</div>')


def beside(pictures: Sequence[Html]) -> Html:
    """Pictures that stand beside each other where the page is wide enough."""
    return Html(f'<div class="beside">{"".join(pictures)}</div>')


def folded(summary: str, anchor: str, parts: Sequence[Html]) -> Html:
    """Parts that are opened by a click on their summary, or on a link to `#anchor`; on paper they stand open."""
    inside = "\n".join(parts)  # a browser opens folded details for a link to what is inside them
    return Html(f'<details><summary>{escape(summary)}</summary><div id="{escape(anchor)}">{inside}</div></details>')


def gallery(thumbnails: Sequence[tuple[bytes, Sequence[str]]]) -> Html:
    """Small JPEG images beside and below each other, each with the lines below it."""
    figures = [
        f'<figure><img alt="" src="data:image/jpeg;base64,{b64encode(jpeg).decode()}">'
        f"<figcaption>{'<br>'.join(map(escape, lines))}</figcaption></figure>"
        for jpeg, lines in thumbnails
    ]
    return Html(f'<div class="gallery">{"".join(figures)}</div>')


def matrix(names: Sequence[str], counts: Sequence[Sequence[int]]) -> Html:
    """Counts (rows, columns) as a square of shaded cells, darker for a larger share of its row; the same names label
    rows and columns. What lies on the diagonal is blue, the rest red."""
    rows = ["<tr><th></th>" + "".join(f"<th><span>{escape(name)}</span></th>" for name in names) + "</tr>"]
    for index, (name, row) in enumerate(zip(names, counts, strict=True)):
        cells = [f"<th>{escape(name)}</th>"]
        for column, count in enumerate(row):
            colour = "37, 99, 235" if column == index else "220, 38, 38"
            shade = f' style="background: rgba({colour}, {0.75 * count / max(sum(row), 1):.2f})"' if count else ""
            cells.append(f"<td{shade}>{count or ''}</td>")
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return Html(f'<div class="wide"><table class="matrix">{"".join(rows)}</table></div>')


def write_page(path: Path, title: str, parts: Sequence[Html], footer: str = "", reload: int = 0) -> None:
    """Write the page, whole or not at all. With `reload` a browser reads it again after so many seconds."""
    again = f'<meta http-equiv="refresh" content="{reload}">' if reload else ""
    body = "\n".join(parts)
    page = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">{again}<style>{_STYLE}</style></head>\n'
        f"<body><h1>{escape(title)}</h1>\n{body}\n<footer>{escape(footer)}</footer></body></html>\n"
    )
    write_atomically(path, page.encode())


def _row(cells: Sequence[str], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>\n"


def _svg(figure: "Figure") -> str:
    """The figure as SVG, the same bytes for the same figure; text stays text."""
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "squeezenet", "svg.fonttype": "none"}):
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue().replace(' target="_blank"', "")  # links stay within the page
    return text[text.index("<svg") :]
