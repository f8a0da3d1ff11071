"""Writes a folder with a web page, and counts what a visit downloads.

>>> export({"digits": Path("digits.sqz")}, Path("page"))["download"]        # doctest: +SKIP
66812
"""

import gzip
import hashlib
import json
import re
from collections.abc import Container, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from squeezenet import sqz
from squeezenet.errors import MissingDependency
from squeezenet.export.folders import MARKER, may_write, put
from squeezenet.model import Model
from squeezenet.printable import printable
from squeezenet.version import __version__

ENGINES = ("engine.wasm", "engine-scalar.wasm")
PAGE = ("index.html", "offline.js", "style.css", "page.js", "worker.js", "icon.svg")
FOLDERS = (".", "models")
BESIDE = (".md", ".LICENSE", ".CREDITS")
"""Files beside a model that are about it."""
TEXT = (".html", ".css", ".js", ".json", ".svg", ".wasm")
"""What servers compress."""


def module() -> dict[str, bytes]:
    """The ES module and its engines: in an installed package beside this file, in a checkout in `web/`."""
    installed = Path(__file__).parent / "module"
    folder = installed if installed.is_dir() else Path(__file__).parents[4] / "web"
    if missing := [name for name in ("squeezenet.js", *ENGINES) if not (folder / name).is_file()]:
        raise MissingDependency(
            f"{missing[0]} was not built: install make, clang and lld, then sqznet again; in a checkout, make -C web"
        )
    return {name: (folder / name).read_bytes() for name in ("squeezenet.js", *ENGINES)}


def page(models: Mapping[str, tuple[bytes, Model, Mapping[str, bytes]]]) -> dict[str, bytes]:
    """The files of a page. Each model by its name: its `.sqz` file, the same decoded, and files about it by name."""
    title = printable(" and ".join(models))
    written = {f"models/{name}.sqz": data for name, (data, _, _) in models.items()}
    listed = []
    for name, (data, model, others) in models.items():
        written |= {f"models/{file}": text for file, text in others.items()}
        told = {**dict(model.provenance), "classes": f"{model.graph.classes:,}", "parameters": f"{model.parameters:,}"}
        listed.append(
            {"name": name, "file": f"models/{name}.sqz", "bytes": len(data), "about": told,
             "files": [f"models/{file}" for file in others]}
        )  # fmt: skip
    written |= module()
    for file in PAGE:
        written[file] = (files("squeezenet.export.web") / "page" / file).read_bytes()
    large = [f"models/{name}.sqz" for name in models]
    links = "\n".join(f'<link rel="preload" as="fetch" crossorigin href="{file}">' for file in (ENGINES[0], *large))
    text = json.dumps(listed, separators=(",", ":")).replace("<", "\\u003c")
    written["index.html"] = _filled(written["index.html"], TITLE=_escaped(title), PRELOADS=links, MODELS=text)
    scope = hashlib.sha256(title.encode()).hexdigest()[:8]  # pages on the same host keep their files apart
    version = hashlib.sha256(b"".join(hashlib.sha256(written[name]).digest() for name in sorted(written))).hexdigest()
    kept = json.dumps(["./", *PAGE[2:], "squeezenet.js", *large])  # and the engine that the visitor's machine runs
    return {**written, "offline.js": _filled(written["offline.js"], SCOPE=scope, VERSION=version[:16], FILES=kept)}


def name_of(path: Path, taken: Container[str]) -> str:
    """A name for the model of a file: letters that file names and addresses may have, and not taken.

    >>> name_of(Path("my birds.sqz"), {"my-birds"})
    'my-birds-2'
    """
    name = first = re.sub(r"[^\w.-]+", "-", path.stem, flags=re.ASCII).strip(".-") or "model"
    number = 2
    while name in taken:
        name, number = f"{first}-{number}", number + 1
    return name


def download(written: Mapping[str, bytes]) -> int:
    """Bytes of a first visit, with gzip where servers compress: all but the second engine and files about models."""
    asked = [name for name in written if name != ENGINES[1] and name.endswith((*TEXT, ".sqz"))]
    return sum(
        len(gzip.compress(written[name], 9, mtime=0)) if name.endswith(TEXT) else len(written[name]) for name in asked
    )


def export(sources: Mapping[str, tuple[Path, Model]], out: Path, force: bool = False) -> dict[str, Any]:
    """Write the page with models; each by its name: its file (a `.sqz` file is copied) and what was loaded from it."""
    may_write(out, "web", force)
    models = {}
    for name, (path, model) in sources.items():
        data = path.read_bytes() if path.suffix == ".sqz" else sqz.encode(model)
        beside = {f"{name}{end}": path.with_suffix(end) for end in BESIDE if path.suffix == ".sqz"}
        models[name] = data, model, {file: at.read_bytes() for file, at in beside.items() if at.is_file()}
    written = page(models)
    values = {
        "TITLE": printable(" and ".join(models)), "VERSION_OF_SQUEEZENET": __version__,
        "MODELS": ", ".join(f"`{printable(name)}`" for name in models),
        "DOWNLOAD": f"{download(written):,}", "FOLDER": printable(out.name),
    }  # fmt: skip
    readme = (files("squeezenet.export.web") / "page" / "README.md").read_text(encoding="utf-8")
    for key, value in values.items():
        readme = readme.replace(f"@{key}@", value)
    result: dict[str, Any] = {
        "models": [{"name": name, "bytes": len(data)} for name, (data, _, _) in models.items()],
        "engine": len(gzip.compress(written[ENGINES[0]], 9, mtime=0)),
        "download": download(written),
    }
    written["README.md"] = readme.encode()
    marker = {"to": "web", "files": sorted([*written, MARKER]), **result}
    written[MARKER] = (json.dumps(marker, indent=2) + "\n").encode()
    put(out, written, "web", FOLDERS)
    return {**result, "files": [{"path": str(out / name), "bytes": len(data)} for name, data in written.items()]}


def _filled(template: bytes, **values: str) -> bytes:
    for key, value in values.items():
        template = template.replace(f"@{key}@".encode(), value.encode())
    return template


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")
