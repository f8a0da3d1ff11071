"""What is installed: its name, what it says of itself, the files it brings, and the versions it refuses."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from itertools import chain
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from setuptools.errors import CompileError, PlatformError

from squeezenet.zoo import SHIPPED
from support import ROOT
from support.engine_sources import CORE

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PROJECT["project"]["optional-dependencies"]
NEEDED = [*PROJECT["build-system"]["requires"], *PROJECT["project"]["dependencies"], *chain(*EXTRAS.values())]
REQUIREMENTS = {requirement.name: requirement for requirement in map(Requirement, NEEDED)}

FAULTY = {
    "pillow": "12.3.0",  # JPEG and TIFF decoders, GHSA-5x8w-8jj5-q52h, GHSA-462x-pgg6-55fp
    "torch": "2.9.1",  # weights_only, CVE-2026-24747
    "tqdm": "4.66.2",  # CVE-2024-34062
    "setuptools": "78.1.0",  # CVE-2025-47273
    "pyarrow": "23.0.0",  # CVE-2026-25087
    "scikit-learn": "1.4.2",  # CVE-2024-5206
}
"""The last version with a fault that is known of it."""


@pytest.mark.parametrize("name", FAULTY)
def test_versions_with_known_faults_are_refused(name):
    assert Version(FAULTY[name]) not in REQUIREMENTS[name].specifier


def test_what_is_developed_with_may_be_installed():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = [Requirement(line) for line in lines if line and not line.startswith("#")]
    for pin in pinned:
        (version,) = (specifier.version for specifier in pin.specifier)
        assert version in REQUIREMENTS[pin.name].specifier, pin


def test_the_name_is_ours_and_the_command_stays():
    project = PROJECT["project"]
    assert project["name"] == "sqznet"
    assert list(project["scripts"]) == ["squeezenet"]
    for field in ("description", "readme", "license", "license-files", "authors", "keywords", "classifiers", "urls"):
        assert project[field]
    searched = [ROOT / "README.md", *ROOT.glob("src/**/*.py"), *ROOT.glob("docs/**/*.md")]
    for path in searched:
        text = path.read_text(encoding="utf-8")
        assert "pip install squeezenet" not in text, path
        assert "squeezenet[" not in text.replace("squeezenet[_", ""), path


@pytest.mark.parametrize("error", [CompileError, PlatformError])
def test_a_machine_without_a_compiler_gets_the_package_without_the_engine(monkeypatch, error):
    """Where there is none, Unix fails when it compiles, and Windows when it looks for the compiler."""
    monkeypatch.chdir(ROOT)
    run_setup = import_module("distutils.core").run_setup  # which setuptools brings
    command = run_setup("setup.py", stop_after="init").get_command_obj("build_ext")
    command.ensure_finalized()

    def compiled(*_):
        raise error("no compiler")

    monkeypatch.setattr(command, "compiled", compiled)
    command.build_extensions()


def test_licence_files_exist():
    for pattern in PROJECT["project"]["license-files"]:
        assert list(ROOT.glob(pattern)), pattern


@pytest.mark.slow
def test_the_wheel_brings_models_cards_licences_and_what_is_exported(tmp_path):
    source = tmp_path / "source"
    for name in ("src", "engine", "web", "pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        source.mkdir(exist_ok=True)
        copy(ROOT / name, source / name)
    command = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, source]
    quick = {**os.environ, "CC": "false"}  # the engine is compiled by `make setup`, and optional
    subprocess.run([sys.executable, *command], check=True, capture_output=True, env=quick)
    (wheel,) = tmp_path.glob("sqznet-*.whl")
    with ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        told = archive.read(metadata).decode()
    for name in SHIPPED:
        assert f"squeezenet/zoo/{name}.sqz" in names
        assert f"squeezenet/zoo/{name}.md" in names
    for name in ("imagenet.LICENSE", "imagenet.CREDITS", "imagenet-small.LICENSE"):
        assert f"squeezenet/zoo/{name}" in names
        assert any(other.endswith(f"/licenses/src/squeezenet/zoo/{name}") for other in names)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert "squeezenet/py.typed" in names
    for path in (ROOT / "src/squeezenet/export/c").glob("[bt]*/*"):  # what `export --to c` writes
        assert f"squeezenet/export/c/{path.parent.name}/{path.name}" in names
    for path in (ROOT / "src/squeezenet/export/web/page").iterdir():
        assert f"squeezenet/export/web/page/{path.name}" in names
    made = shutil.which("clang") and shutil.which("wasm-ld")
    for name in ("squeezenet.js", *(("engine.wasm", "engine-scalar.wasm") if made else ())):
        assert f"squeezenet/export/web/module/{name}" in names
    for path in CORE:
        assert f"squeezenet/export/c/engine/{path.name}" in names
    for line in ("Name: sqznet", "License-Expression: BSD-2-Clause", "Author: The SqueezeNet project's maintainers"):
        assert f"\n{line}\n" in told


# The audit


@pytest.fixture(scope="module")
def audit():
    spec = spec_from_file_location("audit", ROOT / ".ci" / "audit.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SOUND = {"name": "numpy", "version": "2.4", "vulns": []}
FAULT = {"id": "PYSEC-1", "fix_versions": ["13.0"], "aliases": ["CVE-1"], "description": "..."}
BROKEN = {"name": "pillow", "version": "11.0", "vulns": [FAULT]}
UNKNOWN = {"name": "torch", "skip_reason": "Dependency not found on PyPI"}


@pytest.mark.parametrize(
    ("packages", "code", "said"),
    [
        ([SOUND, UNKNOWN], 0, "audit: 1 packages, no known fault"),
        ([SOUND, BROKEN], 1, "audit: pillow 11.0: PYSEC-1, fixed in 13.0"),
        ([UNKNOWN], 0, "audit: not done, the advisory service knows none of the 1 packages"),
    ],
)
def test_the_audit_fails_on_known_faults_only(audit, packages, code, said):
    assert audit.verdict(json.dumps({"dependencies": packages, "fixes": []}), "") == (code, [said])


def test_the_audit_passes_what_was_accepted_and_where_nobody_answers(audit):
    found = json.dumps({"dependencies": [BROKEN]})
    assert audit.verdict(found, "", {"CVE-1": "no such decoder here"})[0] == 0
    assert audit.verdict(found, "", {"CVE-2": "another"})[0] == 1
    code, lines = audit.verdict("", "Traceback\nConnectionError: no route to host\n")
    assert code == 0
    assert len(lines) == 1
    assert "no route to host" in lines[0]
