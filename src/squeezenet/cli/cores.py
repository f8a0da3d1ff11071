"""How many processor cores this process may use."""

import os

USUAL_THREADS = 4
"""`classify` uses at most so many without --threads: more make reading and a single image hardly faster."""


def available_cores() -> int:
    """The cores that the system lets this process use, else all of the machine; at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
