"""A page of text, tables, figures and folded details in one HTML file, without a script or anything to fetch.

>>> write_page(Path("report.html"), "Demo", [Table(["a"], [["1"]])])        # doctest: +SKIP
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

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
footer { margin-top: 3rem; color: var(--faint); font-size: .85rem; }
@media print { .wide { overflow: visible; } table { font-size: .6rem; } th, td { padding-right: .35rem; } }
@media print { details::details-content { content-visibility: visible; display: block; } }
@media print { body { max-width: none; } h2 { break-after: avoid; } svg, table { break-inside: avoid; } }
"""


@dataclass(frozen=True)
class Heading:
    """A section begins."""

    text: str


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Table:
    """Rows of cells; the first column is aligned left."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, eq=False)
class Picture:
    """A matplotlib figure, and what it shows in words."""

    figure: Figure
    description: str


@dataclass(frozen=True)
class Code:
    """Something to copy, such as a command."""

    text: str


@dataclass(frozen=True, eq=False)
class Folded:
    """Parts that are opened by a click on their summary, or on a link to `#anchor`; on paper they stand open."""

    summary: str
    anchor: str
    parts: "Sequence[Part]"


@dataclass(frozen=True, eq=False)
class Beside:
    """Pictures that stand beside each other where the page is wide enough."""

    pictures: Sequence[Picture]


Part = Heading | Text | Table | Picture | Code | Folded | Beside


def write_page(path: Path, title: str, parts: Sequence[Part], footer: str = "", reload: int = 0) -> None:
    """Write the page, whole or not at all. With `reload` a browser reads it again after so many seconds."""
    again = f'<meta http-equiv="refresh" content="{reload}">' if reload else ""
    body = "\n".join(_html(part) for part in parts)
    page = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">{again}<style>{_STYLE}</style></head>\n'
        f"<body><h1>{escape(title)}</h1>\n{body}\n<footer>{escape(footer)}</footer></body></html>\n"
    )
    write_atomically(path, page.encode())


def _html(part: Part) -> str:
    match part:
        case Heading():
            return f"<h2>{escape(part.text)}</h2>"
        case Text():
            return f"<p>{escape(part.text)}</p>"
        case Table():
            rows = _row(part.head, "th") + "".join(_row(row, "td") for row in part.rows)
            return f'<div class="wide"><table>{rows}</table></div>'
        case Picture():
            return f'<div role="img" aria-label="{escape(part.description)}">{_svg(part.figure)}</div>'
        case Beside():
            return f'<div class="beside">{"".join(_html(picture) for picture in part.pictures)}</div>'
        case Code():
            return f"<pre><code>{escape(part.text)}</code></pre>"
        case Folded():
            inside = "\n".join(_html(inner) for inner in part.parts)
            # A browser opens folded details for a link to what is inside them.
            return (
                f'<details><summary>{escape(part.summary)}</summary><div id="{escape(part.anchor)}">{inside}</div>'
                "</details>"
            )


def _row(cells: Sequence[str], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>\n"


def _svg(figure: Figure) -> str:
    """The figure as SVG, the same bytes for the same figure; text stays text."""
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "squeezenet", "svg.fonttype": "none"}):
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue().replace(' target="_blank"', "")  # links stay within the page
    return text[text.index("<svg") :]
