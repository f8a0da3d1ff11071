"""What a run borrows from its process and gives back: signals, threads, and the device that it computes on.

>>> with interrupts() as asked:
...     asked.is_set()
False
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

CPU = torch.device("cpu")


def usual_device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    return torch.device("cuda") if torch.cuda.is_available() else CPU


@contextmanager
def computing_threads(count: int | None) -> Iterator[None]:
    """Let PyTorch compute with `count` threads on the CPU; None leaves it as it is."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def interrupts() -> Iterator[threading.Event]:
    """Ctrl-C and SIGTERM set the event, so that a step is finished and saved; a second one interrupts at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def ask(number: int, frame: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
