"""Models by name: those in the package, and the published ones that `squeezenet pull` downloads.

    >>> find("digits").name
    'digits.sqz'

It imports few modules of the standard library (not `pathlib`), since labelling an image imports it. Only `zoo.pull`
uses the internet, and only the verb `pull` calls it.
"""

import os
import stat
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from squeezenet.errors import ModelError, NoSuchModel, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    HERE: Path

FOLDER = os.path.dirname(__file__)
"""Where a .sqz and a card of the same name lie side by side; `HERE` is the same as a `Path`."""
MOST_RECORDED = 4096  # bytes of the JSON beside a pulled file
RUN = ("config.json", "model.safetensors")  # the first is there as soon as training starts


class Shipped(NamedTuple):
    """A `.sqz` file in the package, with figures that tests check.

    Beside it may be `NAME.LICENSE`, and `NAME.CREDITS`, which names the photographers.
    """

    name: str
    description: str
    bytes: int
    top1: float  # percent of the test images its card names


class Published(NamedTuple):
    """A file that others published. `sha256` is its hash, or the first 8 digits if only these were published.

    `bytes` is its exact size, None if that is unknown.
    """

    name: str
    description: str
    url: str
    sha256: str
    bytes: int | None
    top1: float  # percent of ImageNet's validation images, as its publisher says

    @property
    def file(self) -> str:
        """Its name in the cache, which is the publisher's."""
        return self.url.rsplit("/", 1)[1]


SHIPPED: Mapping[str, Shipped] = {
    "imagenet": Shipped("imagenet", "photographs of ImageNet's 1,000 classes: SqueezeNet v1.0", 347_043, 65.30),
    "imagenet-small": Shipped("imagenet-small", "the same network in 0.7 of the bytes, less accurate", 243_362, 59.80),
    "cifar10": Shipped("cifar10", "photographs of ten things, 32 x 32", 98_479, 88.48),
    "cifar10-small": Shipped("cifar10-small", "the same ten in half the bytes, 40 x 40", 49_846, 82.12),
    "digits": Shipped("digits", "handwritten digits, 16 x 16 gray", 17_986, 99.16),
}

PUBLISHED: Mapping[str, Published] = {
    "squeezenet1_0": Published(
        "squeezenet1_0",
        "the paper's network, ImageNet, by torchvision",
        "https://download.pytorch.org/models/squeezenet1_0-b66bff10.pth",
        "b66bff10",  # torchvision publishes only this, in the file's name; the first pull records the whole hash
        None,
        58.092,
    ),
    "squeezenet1_1": Published(
        "squeezenet1_1",
        "2.4x less computation, ImageNet, by torchvision",
        "https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth",
        "b8a52dc049b60e4b6ab68ad0df457362afab8b6304b2febdc1650a5dab4d7e7b",
        4_958_839,
        58.178,
    ),
    "alexnet": Published(
        "alexnet",
        "one tower (`alexnet_torchvision`, not the paper's), ImageNet, by torchvision",
        "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
        "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
        244_408_911,
        56.522,
    ),
}

DEFAULT = "imagenet"  # what `squeezenet classify` takes without --model


def find(where: str | os.PathLike[str]) -> "Path":
    """The file or folder of MODEL: an existing path, a model that ships, or one that was pulled; else `where` itself.

    Raises `ModelError` if a pulled file is not the one that was published.
    """
    from pathlib import Path

    return Path(located(where))


def located(where: str | os.PathLike[str]) -> str:
    """The path of `find`, as a string."""
    name = os.fspath(where) or os.curdir
    if is_file(name) or any(exists(os.path.join(name, file)) for file in RUN):  # any other folder is data
        return name
    if name in SHIPPED:
        return os.path.join(FOLDER, f"{name}.sqz")
    if name in PUBLISHED and is_cached(PUBLISHED[name]):
        verify(PUBLISHED[name])
        return str(cached(PUBLISHED[name]))
    return name


def is_file(path: str) -> bool:
    """Whether there is a regular file. Raises `OSError` if that cannot be told, as does a `Path`."""
    return stat.S_ISREG(_mode(path))


def exists(path: str) -> bool:
    """Whether there is a file or a folder. Raises `OSError` as `is_file` does."""
    return _mode(path) != 0


def _mode(path: str) -> int:
    """Type and permissions; 0 if there is nothing."""
    try:
        return os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):  # the last for a path with a zero byte
        return 0


def not_found(where: "str | Path") -> ModelError:
    """The error if `find` returns a path that does not exist."""
    if str(where) in PUBLISHED:
        return ModelError(f"{where} is without weights here; fetch them with: squeezenet pull {where}")
    return NoSuchModel(f"{where}: no such file, run folder or model; {nearest(str(where), [*SHIPPED, *PUBLISHED])}")


def nearest(name: str, known: Sequence[str]) -> str:
    """The name in `known` that is most similar to the given one, if one is similar."""
    from difflib import get_close_matches

    near = get_close_matches(name, known, 1)
    return f"did you mean {near[0]}?" if near else "`squeezenet models` lists names"


def default_model() -> str:
    """The file that `classify` uses if no model is named, even if the current folder has something of that name."""
    return os.path.join(FOLDER, f"{DEFAULT}.sqz")


def card(name: str) -> str:
    """What is known about a model, in Markdown. Raises `UsageError` for an unknown name."""
    if name not in SHIPPED and name not in PUBLISHED:
        raise UsageError(f"no model is called {name}; {nearest(name, [*SHIPPED, *PUBLISHED])}")
    with open(os.path.join(FOLDER, f"{name}.md"), encoding="utf-8") as file:
        return file.read()


def cache_folder() -> "Path":
    """The folder of pulled files: $SQUEEZENET_CACHE, else the user's cache folder.

    Raises `ModelError` if the user has no home folder, as in some containers.
    """
    from pathlib import Path

    if chosen := os.environ.get("SQUEEZENET_CACHE"):
        return Path(chosen)
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "squeezenet"
    home = os.path.expanduser("~")
    if home == "~":
        raise ModelError("this user has no home folder; set SQUEEZENET_CACHE to a folder for pulled files")
    return Path(home) / ".cache" / "squeezenet"


def cached(entry: Published) -> "Path":
    """The path of a published file in the cache."""
    return cache_folder() / entry.file


def is_cached(entry: Published) -> bool:
    """Whether a published file is in the cache; False if there is no cache that can be read."""
    try:
        return os.path.isfile(cached(entry))
    except ModelError:
        return False


def verify(entry: Published) -> str:
    """The SHA-256 of the pulled file. Raises `ModelError` if it is not what was published; the file stays."""
    path = cached(entry)
    found, wanted = sha256(path), expected(entry)
    if not found.startswith(wanted):
        raise ModelError(
            f"{path}: its SHA-256 is {found}, not {wanted}; remove it, or run: squeezenet pull {entry.name} --again"
        )
    return found


def expected(entry: Published) -> str:
    """The known hash; if only its beginning is known, the hash that the first pull recorded.

    Raises `ModelError` if the record is not a hash.
    """
    import json

    from squeezenet.files import read_regular

    record = recorded(entry)
    try:
        whole = json.loads(read_regular(record, MOST_RECORDED))["sha256"]
    except FileNotFoundError:
        return entry.sha256
    except (ValueError, KeyError, TypeError):
        whole = None
    if not isinstance(whole, str) or len(whole) != 64 or not whole.startswith(entry.sha256):
        raise ModelError(f"{record}: no record of a SHA-256 that begins with {entry.sha256}; remove it and pull again")
    return whole


def recorded(entry: Published) -> "Path":
    """The path of the JSON file that records the hash of a pulled file."""
    return cached(entry).with_name(entry.file + ".json")


def sha256(path: "Path") -> str:
    """Hexadecimal SHA-256 of a file."""
    import hashlib

    from squeezenet.files import open_regular

    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def __getattr__(name: str) -> Any:
    if name == "HERE":
        from pathlib import Path

        return Path(FOLDER)
    raise AttributeError(f"module 'squeezenet.zoo' has no attribute {name!r}")
