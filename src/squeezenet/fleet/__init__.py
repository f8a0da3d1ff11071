"""Updates of models over the air, by The Update Framework (docs/updating.md).

On a device: `client` (`enrol`, `update`), `local` (`confirm`, `rollback`, `status`) and `Watched`, the classifier of a
program that runs while its model is replaced. At the publisher: `publisher`. Importing this package imports none of
them.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from squeezenet.fleet.watched import Watched

__all__ = ["Watched"]


def __getattr__(name: str) -> Any:
    if name == "Watched":
        from squeezenet.fleet.watched import Watched

        return Watched
    raise AttributeError(f"module 'squeezenet.fleet' has no attribute {name!r}")
