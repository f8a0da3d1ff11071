"""How an accuracy is told: with the number of images it was measured on, and its error.

>>> described({"top1": 90.0, "top1_error": 6.7, "top5": None, "images": 80, "judged": "held-out"})
'top-1 90.0% ± 6.7 (80 images held out from training; one image is 1.2 points)'
"""

from collections.abc import Mapping
from typing import Any

from squeezenet.printable import counted

JUDGED = {
    "held-out": "held out from training",
    "validation": "of the validation split",
    "val": "of --val",
    "apart": "that were not tuned on",
    "all": "all of the data",
}
"""Which images an accuracy is of; the keys stand in JSON as `judged`."""

POINT = 100
"""Images below which one image is more than a point of accuracy."""


def judges(images: int, judged: str) -> str:
    """How many images an accuracy is of, and which.

    >>> judges(79, "all"), judges(1, "held-out")
    ('all 79 images', '1 image held out from training')
    """
    told = counted(images, "image")
    return f"all {told}" if judged == "all" else f"{told} {JUDGED[judged]}"


def described(result: Mapping[str, Any]) -> str:
    """Top-1 with its error, top-5 where it says something, the images both are of, and a warning where they are few."""
    from squeezenet.data.score import Score  # which needs NumPy

    digits = 1 if result["top1_error"] >= 1 else 2
    top5 = "" if result["top5"] is None else f", top-5 {result['top5']:.{digits}f}%"
    images = result["images"]
    score = Score(images, result["top1"], 100.0).shown(digits)
    told = f"top-1 {score}{top5} ({judges(images, result['judged'])}"
    return told + (f"; one image is {100 / images:.1f} points)" if images < POINT else ")")


def significance(top5: float, classes: int) -> float | None:
    """Top-5 where there are more than five classes; else it is 100% whatever the model answers, and None."""
    return round(top5, 4) if classes > 5 else None
