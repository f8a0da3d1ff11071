"""The web page at `/`: the files of a folder, read once, so that no address can lead to another file.

>>> sorted(read_pages(HERE))
['', 'page.css', 'page.js']
"""

from pathlib import Path
from typing import NamedTuple

from squeezenet.errors import UsageError
from squeezenet.files import read_regular

HERE = Path(__file__).parent / "page"
"""The small page that ships: it sends an image to the API and shows the answer."""
INDEX = "index.html"
MOST_FILES = 1_000
MOST_BYTES = 64 * 2**20
"""Bytes of all files of a page."""
TYPES = {
    ".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript", ".css": "text/css",
    ".json": "application/json", ".webmanifest": "application/manifest+json", ".wasm": "application/wasm",
    ".svg": "image/svg+xml", ".png": "image/png", ".ico": "image/x-icon", ".jpg": "image/jpeg",
    ".txt": "text/plain", ".md": "text/plain",
}  # fmt: skip
"""Media types by suffix; any other file is `application/octet-stream`."""
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; style-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


class Page(NamedTuple):
    """A file of the page."""

    data: bytes
    media_type: str


def read_pages(folder: Path) -> dict[str, Page]:
    """The files below a folder by path; `index.html` is also the page of its folder. Raises `UsageError`."""
    if not (folder / INDEX).is_file():
        raise UsageError(f"{folder}: has no {INDEX}; name a folder from: squeezenet export MODEL --to web")
    pages, left = {}, MOST_BYTES
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        page = Page(read_regular(path, left), TYPES.get(path.suffix.lower(), "application/octet-stream"))
        left -= len(page.data)
        name = path.relative_to(folder).as_posix()
        pages[name.removesuffix(INDEX) if path.name == INDEX else name] = page
        if len(pages) > MOST_FILES:
            raise UsageError(f"{folder}: has more than {MOST_FILES:,} files")
    return pages
