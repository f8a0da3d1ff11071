"""What a runtime takes on the disk, and environments that hold it and what it depends on, and nothing else.

Only the standard library, and `packaging` where there are peers: the process that measures memory starts from here.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
INSTALLERS = ("pip", "setuptools", "pkg_resources", "_distutils_hack", "distutils")


def missing(names: Iterable[str]) -> list[str]:
    """Those of these packages that are not installed."""
    absent = []
    for name in names:
        try:
            distribution(name)
        except PackageNotFoundError:
            absent.append(name)
    return absent


def closure(names: Iterable[str]) -> list[Distribution]:
    """These packages and all they require, without extras, as far as they are installed."""
    from packaging.requirements import Requirement

    found: dict[str, Distribution] = {}
    left = list(names)
    while left:
        name = left.pop().lower().replace("_", "-")
        if name in found or missing([name]):
            continue
        found[name] = distribution(name)
        for line in found[name].requires or ():
            need = Requirement(line)
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                left.append(need.name)
    return list(found.values())


def megabytes(packages: Iterable[Distribution]) -> float:
    """MB (10^6) on the disk of the packages' own files, compiled modules included, programs in bin/ not."""
    paths = (Path(str(package.locate_file(file))) for package in packages for file in package.files or ())
    inside = {path for path in paths if "bin" not in path.parts and ".." not in path.parts and path.is_file()}
    return sum(path.stat().st_blocks * 512 for path in inside) / 1e6


def linked(folder: Path, packages: Iterable[Distribution]) -> Path:
    """A fresh virtual environment with links to these packages, as if they had been installed there; its Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    site = site_packages(folder / "bin" / "python")
    for package in packages:
        for name in {file.parts[0] for file in package.files or ()} - {"..", "bin", "__pycache__"}:
            link, target = site / name, Path(str(package.locate_file(name)))
            if not link.exists() and target.exists():
                link.symlink_to(target)
    return folder / "bin" / "python"


def base_install(folder: Path) -> Path:
    """A virtual environment into which this tree and what it depends on are installed; its Python."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", ROOT], check=True)
    return python


def installed_megabytes(python: Path) -> float:
    """MB on the disk of all packages of an environment but the installers it begins with."""
    site = site_packages(python)
    sizes = (
        path.stat().st_blocks * 512
        for path in site.rglob("*")
        if path.is_file() and path.relative_to(site).parts[0].split("-")[0] not in INSTALLERS
    )
    return sum(sizes) / 1e6


def engine(python: Path, variables: Mapping[str, str]) -> Path:
    """The compiled engine of the package that this Python finds."""
    asked = [python, "-c", "import squeezenet._engine as engine; print(engine.__file__)"]
    return Path(subprocess.run(asked, capture_output=True, text=True, check=True, env=variables).stdout.strip())


def stripped_kilobytes(library: Path) -> float | None:
    """kB (10^3) of a library without its symbols; None where there is no `strip`."""
    if shutil.which("strip") is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        stripped = Path(folder) / library.name
        subprocess.run(["strip", "-o", stripped, library], check=True)
        return stripped.stat().st_size / 1e3


def site_packages(python: Path) -> Path:
    """Where an environment keeps its packages."""
    asked = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('platlib'))"]
    return Path(subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip())
