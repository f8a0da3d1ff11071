"""A line an epoch, for who cannot see a progress bar: a log file, a scheduler, a notebook.

>>> row = {"step": 17, "steps": 204, "epoch": 1.0, "loss": 1.21, "top1": 76.7, "images_per_second": 21.0}
>>> epoch_line({**row, "seconds_left": 143.0})
'epoch 1.0 of 12.0, loss 1.210, top-1 76.7%, 21 images/s, 2 min 23 s left'
"""

from collections.abc import Mapping
from typing import Any


def epoch_line(row: Mapping[str, Any]) -> str:
    """What a row of metrics.jsonl means."""
    step, steps, epoch = row["step"], row["steps"], row["epoch"]
    return (
        f"epoch {epoch:.1f} of {epoch / step * steps:.1f}, loss {row['loss']:.3f}, top-1 {row['top1']:.1f}%, "
        f"{row['images_per_second']:,.0f} images/s, {duration(row['seconds_left'])} left"
    )


def duration(seconds: float) -> str:
    """
    >>> duration(7.4), duration(143), duration(60_000)
    ('7 s', '2 min 23 s', '16 h 40 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60} min"
