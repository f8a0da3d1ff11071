"""An accuracy as text: with its error, and the number of images it was measured on.

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
"""Which images an accuracy was measured on: the value of `judged` in JSON -> the words for people."""

POINT = 100
"""With fewer images than this, one image changes the accuracy by more than one point."""


def measured_on(images: int, judged: str) -> str:
    """How many images an accuracy was measured on, and which.

    >>> measured_on(79, "all"), measured_on(1, "held-out")
    ('all 79 images', '1 image held out from training')
    """
    told = counted(images, "image")
    return f"all {told}" if judged == "all" else f"{told} {JUDGED[judged]}"


def described(result: Mapping[str, Any]) -> str:
    """Top-1 with its error, top-5 unless always 100%, the images, and what one image counts where they are few."""
    from squeezenet.data.score import Score  # which needs NumPy

    digits = 1 if result["top1_error"] >= 1 else 2
    top5 = "" if result["top5"] is None else f", top-5 {result['top5']:.{digits}f}%"
    images = result["images"]
    score = Score(images, result["top1"], 100.0).shown(digits)
    told = f"top-1 {score}{top5} ({measured_on(images, result['judged'])}"
    return told + (f"; one image is {100 / images:.1f} points)" if images < POINT else ")")


def significance(top5: float, classes: int) -> float | None:
    """Top-5, or None where there are at most five classes: then it is always 100%."""
    return round(top5, 4) if classes > 5 else None
