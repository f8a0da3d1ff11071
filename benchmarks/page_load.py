"""Time from opening a page to its first label in Chromium, cold cache: `export --to web` and pages of two peers.

    make -C web
    npm install --prefix peers onnxruntime-web @tensorflow/tfjs-core @tensorflow/tfjs-backend-wasm esbuild
    python benchmarks/page_load.py imagenet-small --peers peers --image photo.jpg [--unsqueezed weights.net]

All pages have the same network (`web_peers.py`), so the peers profit from our squeezing. With `--unsqueezed` they have
the network as it was before, in the form that their own tools make. All pages come from the same server, and are given
the same image as soon as they can take one. Every load has an empty cache. The server compresses all files with gzip.
A link is imitated in the server, because Chromium's own imitation leaves out workers: each answer waits for the
latency, and all answers share the bandwidth. `wall` is the time from the start of the navigation to the label in the
page; `cpu` is the time of all processors for it, which other programs on the machine change less. Pages take turns;
figures are medians over them.
"""

import argparse
import base64
import gzip
import os
import re
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import web_peers
from squeezenet import sqz, zoo
from squeezenet.export.web import write
from squeezenet.formats.load import load_model

TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".json": "application/json",
         ".svg": "image/svg+xml", ".wasm": "application/wasm"}  # fmt: skip
OURS = "squeezenet"
PIECE = 1 << 13  # bytes that take the link for themselves
GIVE = """([data, times]) => {
  document.addEventListener("DOMContentLoaded", () => {
    const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
    const input = document.getElementById("file"), status = document.getElementById("status");
    const give = () => {
      const given = new DataTransfer();
      given.items.add(new File([bytes], "photo.jpg", { type: "image/jpeg" }));
      input.files = given.files;
      input.dispatchEvent(new Event("change", { bubbles: true }));
    };
    let since = 0; // the start of the navigation
    new MutationObserver(() => {
      if (/…|Ready/.test(status.textContent)) return;
      shown(status.textContent, performance.now() - since);
      if (--times) setTimeout(() => ((since = performance.now()), give()));
    }).observe(status, { childList: true, characterData: true, subtree: true });
    give();
  });
}"""
"""Gives a page the same image several times, and tells what it shows."""


@dataclass
class Link:
    """What lies between a server and its visitors: seconds before each answer, bytes in a second of all answers."""

    name: str
    latency: float = 0
    rate: float = float("inf")
    free: float = 0  # when the last piece will have passed
    lock: threading.Lock = field(default_factory=threading.Lock)

    def wait(self, count: int) -> None:
        """Until `count` bytes have passed."""
        with self.lock:
            self.free = max(self.free, time.monotonic()) + count / self.rate
        if (left := self.free - time.monotonic()) > 0:
            time.sleep(left)


LINKS = (
    Link("no limit"),
    Link("10 Mbit/s, 40 ms", 0.04, 10e6 / 8),
    Link("1.6 Mbit/s, 150 ms (Lighthouse's slow 4G)", 0.15, 1.6e6 / 8),
)


@contextmanager
def served(folders: Mapping[str, Mapping[str, bytes]], link: Link) -> Iterator[str]:
    """The address of a server of folders."""
    packed = {f"/{folder}/{name}": gzip.compress(data, 9, mtime=0) if Path(name).suffix != ".sqz" else data
              for folder, files in folders.items() for name, data in files.items()}  # fmt: skip

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            path = self.path.split("?")[0]
            name = path + "index.html" * path.endswith("/")
            time.sleep(link.latency)
            data = packed.get(name)
            self.send_response(200 if data is not None else 404)
            if data is not None:
                self.send_header("Content-Type", TYPES.get(Path(name).suffix, "application/octet-stream"))
                if not name.endswith(".sqz"):
                    self.send_header("Content-Encoding", "gzip")
                self.send_header("Cache-Control", "max-age=600")
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            with suppress(ConnectionError):  # the visitor has left
                for at in range(0, len(data or b""), PIECE):
                    piece = (data or b"")[at : at + PIECE]
                    link.wait(len(piece))
                    self.wfile.write(piece)

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@dataclass(frozen=True)
class Shown:
    """The first label of a page, milliseconds until it was there, and of all processors for it."""

    label: str
    wall: float
    cpu: float


def processors() -> dict[int, float]:
    """Milliseconds that each process of Chromium has run, of those that this process has started."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            name, _, rest = path.read_text().partition("(")[2].rpartition(")")
            numbers = rest.split()
            found[int(path.parent.name)] = int(numbers[1]), name, int(numbers[11]) + int(numbers[12])
    times, tick = {}, 1000 / os.sysconf("SC_CLK_TCK")
    for process, (parent, name, ticks) in found.items():
        while parent in found and parent != os.getpid():
            parent = found[parent][0]
        if parent == os.getpid() and name.startswith("chrom"):
            times[process] = ticks * tick
    return times


def labels(browser: Any, address: str, image: Path, times: int) -> list[Shown]:
    """Opens a page in a new profile, gives it the image several times, and waits for as many labels."""
    context = browser.new_context()
    page = context.new_page()
    found: list[Shown] = []
    before = processors()

    def shown(label: str, wall: float) -> None:
        cpu = sum(ran - before.get(process, 0) for process, ran in processors().items())
        found.append(Shown(label.split(",")[0], wall, cpu))

    page.expose_function("shown", shown)
    page.add_init_script(f"({GIVE})({[base64.b64encode(image.read_bytes()).decode(), times]})")
    page.goto(address, wait_until="commit")
    while len(found) < times:
        page.wait_for_timeout(20)
    context.close()
    return found


def main() -> None:
    """Print a table for each link."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--peers", type=Path, help="the folder with node_modules")
    parser.add_argument("--unsqueezed", type=Path, help="the network of the peers: a file that convert reads")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--again", type=int, default=20, help="images after the first; the later half is warm")
    parser.add_argument("--only", default="", help="peers whose names match this regular expression")
    args = parser.parse_args()
    path = zoo.find(args.model)
    with tempfile.TemporaryDirectory() as folder:
        write.export({"model": (path, sqz.read(path))}, Path(folder, "page"))
        files = {str(at.relative_to(Path(folder, "page"))): at.read_bytes() for at in Path(folder, "page").rglob("*.*")}
    pages: dict[str, Mapping[str, bytes]] = {OURS: files}
    if args.peers:
        theirs = load_model(args.unsqueezed) if args.unsqueezed else sqz.read(path)
        pages |= web_peers.pages(theirs, args.peers)
    pages = {name: page for name, page in pages.items() if name == OURS or re.search(args.only, name)}
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for link in LINKS:
            again = args.again if link.rate == float("inf") else 0
            first: dict[str, list[Shown]] = {name: [] for name in pages}
            warm: dict[str, list[Shown]] = {name: [] for name in pages}
            with served({str(number): page for number, page in enumerate(pages.values())}, link) as server:
                for turn in range(args.rounds + 1):  # the first starts the browser
                    for number, name in enumerate(pages):
                        found = labels(browser, f"{server}/{number}/", args.image, 1 + again)
                        if turn:
                            first[name].append(found[0])
                        if turn and again:
                            later = found[1 + again // 2 :]
                            cpu = (later[-1].cpu - found[again // 2].cpu) / len(later)
                            warm[name].append(Shown(later[0].label, statistics.median(s.wall for s in later), cpu))
            show(f"{link.name}, first label", first)
            if again:
                show("when warm, for an image", warm)
        browser.close()


def show(title: str, found: Mapping[str, list[Shown]]) -> None:
    """Print a row for each page."""
    print(f"\n{title}")
    for name, times in found.items():
        print(f"{name:<28} {', '.join({shown.label for shown in times})}", end="")
        for kind in ("wall", "cpu"):
            ours, theirs = ([getattr(shown, kind) for shown in found[which]] for which in (OURS, name))
            ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
            print(f"; {kind} {statistics.median(theirs):.0f} ms ({min(theirs):.0f} to {max(theirs):.0f})", end="")
            print(f", ours / this {ratio:.2f}", end="")
        print(flush=True)


if __name__ == "__main__":
    main()
