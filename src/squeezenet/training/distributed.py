"""Many processes that train one network: the rank of this one, and what they send each other.

    >>> Group().slice(np.arange(5))
    array([0, 1, 2, 3, 4])
    >>> Group(rank=1, size=2).slice(np.arange(5))
    array([1, 3])

`torchrun` sets RANK, LOCAL_RANK and WORLD_SIZE; without them there is one process. Every process computes the same
order of images and takes its slice of every batch, so no image is lost or shown twice, and the gradients are those of
one process with the whole batch. A step sends data in proportion to the number of parameters (FireCaffe, 1511.00175;
section 1 of the SqueezeNet paper).
"""

import gc
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from squeezenet.errors import SqueezeNetError, TrainingError, UsageError

TIMEOUT = timedelta(minutes=10)  # longest wait for another process: decoding a data set into memory takes minutes
BUCKET_MB = (
    1  # gradients are sent in buckets of this size, while others are computed (experiments, "Constants of training")
)

Gradients = Literal["float32", "bf16"]


@dataclass(frozen=True)
class Group:
    """One process among `size`. Rank 0 writes the run folder."""

    rank: int = 0
    local_rank: int = 0
    size: int = 1
    local_size: int = 1  # processes on this machine

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def slice(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """The indices for this process: every `size`-th, from `rank` on."""
        return indices[self.rank :: self.size]

    def device(self) -> torch.device:
        """The GPU of this process on its machine, or the CPU."""
        return torch.device("cuda", self.local_rank) if torch.cuda.is_available() else torch.device("cpu")

    def workers(self) -> int | None:
        """Threads that decode, where the cores are shared; None: as many as one process likes."""
        return None if self.local_size == 1 else max(1, (os.cpu_count() or 1) // self.local_size)

    def share(self, model: nn.Module, gradients: Gradients, bucket_mb: float = BUCKET_MB) -> nn.Module:
        """`model` so that backward() leaves the mean gradient of all processes; the same weights everywhere."""
        if self.size == 1:
            return model
        shared = DistributedDataParallel(model, bucket_cap_mb=bucket_mb, gradient_as_bucket_view=True)
        if gradients == "bf16":
            shared.register_comm_hook(None, _send_bf16)
        return shared

    def add(self, *numbers: float) -> list[float]:
        """The sums over all processes, exact for whole numbers below 2^53."""
        if self.size == 1:
            return list(numbers)
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        total = torch.tensor(numbers, dtype=torch.float64, device=device)
        dist.all_reduce(total)
        return total.tolist()

    def tell(self, value: Any) -> Any:
        """The `value` of rank 0, in every process. It is pickled, and comes from our own process."""
        if self.size == 1:
            return value
        held = [value]
        dist.broadcast_object_list(held, src=0)
        return held[0]

    def on_first(self, work: Callable[[], Any]) -> Any:
        """The result of `work`, which rank 0 alone does. Every process raises its errors."""
        result, error = None, None
        if self.first:
            try:
                result = work()
            except SqueezeNetError as caught:
                error = caught
        result, error = self.tell((result, error))
        if error is not None:
            raise error
        return result

    def gather(self, value: Any) -> list[Any]:
        """The values of all processes, in the order of ranks."""
        if self.size == 1:
            return [value]
        held: list[Any] = [None] * self.size
        dist.all_gather_object(held, value)
        return held


# PyTorch refuses a hook with another annotation, and its own hook where there is no CUDA, although gloo can add bf16.
def _send_bf16(group: Any, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:  # type: ignore[name-defined]
    return bf16_compress_hook(group, bucket)


ALONE = Group()


@contextmanager
def join() -> Iterator[Group]:
    """The group that `torchrun` started this process in, or one process alone; left again afterwards.

    Raises `UsageError` if some of the variables are missing, `TrainingError` if other processes cannot be reached.
    """
    named = {name: os.environ.get(name) for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE")}
    if not any(named.values()) or dist.is_initialized():
        yield Group()
        return
    if missing := [name for name, value in named.items() if not (value or "").isdigit()]:
        raise UsageError(f"{', '.join(missing)} is not set to a number beside the others; start through torchrun")
    import torch.distributed.nn.functional  # before the group is made: experiments, "How a process group is taken down"

    local_rank = int(os.environ["LOCAL_RANK"])
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(local_rank)
    try:
        # After a restart, PyTorch 2.13 finds the addresses of dead processes in the launcher's store, and gloo's
        # connections to them are refused. So each attempt uses a part of the store with a name of its own.
        store, rank, size = next(rendezvous("env://", timeout=TIMEOUT))
        attempt = dist.PrefixStore(agree(store, rank, size), store)  # type: ignore[attr-defined]
        dist.init_process_group("nccl" if cuda else "gloo", store=attempt, rank=rank, world_size=size, timeout=TIMEOUT)
    except (RuntimeError, ValueError) as error:
        raise TrainingError(f"the other processes cannot be reached ({' '.join(str(error).split())[:120]})") from None
    try:
        yield Group(rank, local_rank, size, int(os.environ.get("LOCAL_WORLD_SIZE", 1)))
    finally:
        dist.destroy_process_group()
        gc.collect()  # a reference cycle that holds the group, for example in DDP, would keep its threads alive


def agree(store: Any, rank: int, size: int) -> str:
    """A random name that all processes of this attempt agree on, and no earlier attempt knew.

    `store` still holds the messages of processes that died. TORCHELASTIC_RESTART_COUNT does not tell attempts apart: on
    several machines each launcher counts only the deaths of its own workers (pytorch/pytorch#108158, #135712). So
    rank 0 draws the name, and sends it to each process that has written a random word, until each has confirmed it. A
    dead process is answered, too, but confirms nothing.
    """
    word = secrets.token_hex(8)
    if rank:
        store.set(f"hello from {rank}", word)
        name: str = store.get(f"welcome {word}").decode()  # waits
        store.set(f"{rank} heard {name}", "")
        return name
    deadline = time.monotonic() + TIMEOUT.total_seconds()
    for other in range(1, size):
        while not store.check([f"{other} heard {word}"]):
            if time.monotonic() > deadline:
                raise RuntimeError(f"nothing heard of process {other}")
            if store.check([f"hello from {other}"]):
                store.set(f"welcome {store.get(f'hello from {other}').decode()}", word)
            time.sleep(0.02)
    return word
