"""Bytes on the wire and time per step of data-parallel training: SqueezeNet v1.0 against AlexNet on two hosts.

    python benchmarks/communication.py                      # as root, on Linux with `ip` and `tc`; five minutes

Section 1 of the SqueezeNet paper: what processes send each other per step is proportional to the parameters
(FireCaffe, 1511.00175). The two hosts are network namespaces of this machine with a cable (veth) between them and one
process each, started by `torchrun`; the step is the project's own, `training.state.State.advance`, on images made up
beforehand. `tc` limits both ends of the cable. Bytes are counted twice by the kernel: at the interface, where up
to 64 KiB travel as one packet (to cut them up costs more time than two cores have), and by `tc`, which counts and
limits what these are on a real cable, frames of 1,514 bytes with headers.

Expected: a ring of n processes sends 2 (n - 1) / n times the gradients from each, which for two is once; a frame
carries 1,448 bytes of them. Of the time per step, `alone` is what the same step takes while neither process
sends anything, both at work as before: a process has a core and half the machine's cache.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two hosts, two cores
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
from torch import nn

from squeezenet.data.batches import Batch
from squeezenet.models import create_seeded
from squeezenet.preparation import Preparation
from squeezenet.training import Recipe
from squeezenet.training.distributed import ALONE, BUCKET_MB, Gradients, Group, join
from squeezenet.training.state import State

NETWORKS = ("squeezenet1_0", "alexnet")
ALONE_LINK = "alone"
LINKS = {ALONE_LINK: "", "unlimited": "", "1 Gbit/s": "1gbit", "100 Mbit/s": "100mbit"}
"""What `tc` is told. Alone: each process for itself, nothing is sent."""
COLUMNS = (
    "network", "gradients", "bucket", "link", "MB sent / step", "in frames", "expected", "sent again", "s / step",
    "alone", "waiting",
)  # fmt: skip
BUCKETS_MB = (1, 4, 25)
CABLE = "squeezenet"
"""Name of both ends of the cable, each in its own namespace."""
HOSTS = ("squeezenet-host0", "squeezenet-host1")
ADDRESSES = ("10.213.77.1", "10.213.77.2")
PORT = 29500
PAYLOAD, FRAME = 1448, 1514
"""Bytes of gradients in a full Ethernet frame (MTU 1,500, TCP with time stamps over IPv4), and of the whole frame."""
WARM_UP = 2
"""DDP puts its buckets into the order in which gradients come after the first step."""
PATIENCE = 40.0
"""Seconds that the steps of one measurement may take, if there are two of them."""


@dataclass(frozen=True)
class Case:
    """A network, how its gradients travel, and the speeds of the cable at which that is measured."""

    network: str
    links: tuple[str, ...]
    gradients: Gradients = "float32"
    bucket_mb: float = BUCKET_MB


@dataclass(frozen=True)
class Result:
    """What a case came to at one speed, per step."""

    network: str
    link: str
    gradients: Gradients
    bucket_mb: float
    parameters: int
    steps: int
    seconds: float  # the median
    sent: float  # bytes through the interface, by the host that sent more
    framed: float  # the same in frames of a real cable
    again: float  # TCP segments that were sent a second time, by both hosts


@dataclass(frozen=True)
class Bucketed(Group):
    """A group that sends its gradients in buckets of another size."""

    bucket_mb: float = BUCKET_MB

    def share(self, model: nn.Module, gradients: Gradients, bucket_mb: float = BUCKET_MB) -> nn.Module:
        return super().share(model, gradients, self.bucket_mb)


# What is expected


def gradient_bytes(parameters: int, gradients: Gradients = "float32") -> int:
    """Bytes of one set of gradients."""
    return parameters * (2 if gradients == "bf16" else 4)


def expected_sent(parameters: int, gradients: Gradients = "float32", processes: int = 2) -> float:
    """Bytes that each host sends per step in a ring, in full frames."""
    return gradient_bytes(parameters, gradients) * 2 * (processes - 1) / processes * FRAME / PAYLOAD


# On a host: one process of the group


def measure_all(cases: Sequence[Case], images: int, steps: int) -> None:
    """Measure in the group that this process is in; the first process prints a line of JSON per result."""
    with join() as group:
        for case in cases:
            limit_link("")  # what comes before the steps is no part of them: the weights of the first go to the other
            member = Bucketed(group.rank, group.local_rank, group.size, case.bucket_mb)
            state = start(case, ALONE if case.links == (ALONE_LINK,) else member)
            batch = synthetic_batch(state.preparation, images, state.group)
            for _ in range(WARM_UP):
                state.advance(batch)
            for link in case.links:
                result = measure(state, batch, case, link, group, steps)
                if group.first:
                    print(json.dumps(asdict(result)), flush=True)
            del state  # before there is another AlexNet


def start(case: Case, group: Group) -> State:
    """A run of the paper's recipe at its first step."""
    preparation = Preparation.imagenet_caffe()
    return State(create_seeded(case.network, 0), Recipe(micro_batch=0), 10**6, preparation, group, case.gradients)


def synthetic_batch(preparation: Preparation, images: int, group: Group) -> Batch:
    """This process's share of a batch of noise, `images` of them."""
    random = torch.Generator().manual_seed(group.rank)
    shape = (images, 3, preparation.resize, preparation.resize)
    pixels = torch.randint(256, shape, dtype=torch.uint8, generator=random)
    labels = torch.randint(1000, (images,), generator=random)
    rows = torch.arange(images) * group.size + group.rank
    return Batch(pixels, labels, rows, images * group.size)


def measure(state: State, batch: Batch, case: Case, link: str, group: Group, steps: int) -> Result:
    """Time and bytes of at most `steps` steps, after one that fills the cable."""
    limit_link(LINKS[link])
    group.add(0)  # everyone is there
    clock = time.perf_counter()
    state.advance(batch)
    steps = group.tell(max(2, min(steps, int(PATIENCE / (time.perf_counter() - clock)))))
    before, taken = counters(), []
    for _ in range(steps):
        clock = time.perf_counter()
        state.advance(batch)
        taken.append(time.perf_counter() - clock)
    group.add(0)
    hosts = group.gather([new - old for new, old in zip(counters(), before, strict=True)])
    sent, framed, again = zip(*hosts, strict=True)
    return Result(
        case.network, link, case.gradients, case.bucket_mb,
        parameters=sum(p.numel() for p in state.model.parameters()),
        steps=steps,
        seconds=statistics.median(taken),
        sent=max(sent) / steps,
        framed=max(framed) / steps,
        again=sum(again) / steps,
    )  # fmt: skip


def counters() -> tuple[int, int, int]:
    """Of this host: bytes through the interface, bytes in frames, and TCP segments that were sent again."""
    sent = int(Path(f"/sys/class/net/{CABLE}/statistics/tx_bytes").read_text())
    framed = json.loads(command(["tc", "-s", "-j", "qdisc", "show", "dev", CABLE]))[0]["bytes"]
    names, values = (line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if "Tcp:" in line)
    return sent, framed, int(dict(zip(names, values, strict=True))["RetransSegs"])


def limit_link(rate: str) -> None:
    """Let this host send no faster than `rate`: a token bucket at its end of the cable. "": any speed, counted."""
    bucket = ["tbf", "rate", rate, "burst", "128kb", "latency", "50ms"] if rate else ["pfifo", "limit", "10000"]
    subprocess.run(["tc", "qdisc", "del", "dev", CABLE, "root"], capture_output=True, check=False)
    command(["tc", "qdisc", "add", "dev", CABLE, "root", *bucket])


# Around them: two hosts and a cable


@contextmanager
def two_hosts() -> Iterator[None]:
    """Two network namespaces that reach each other and nothing else; gone afterwards, whatever happened."""
    remove_hosts()  # of a run that was killed
    try:
        for host in HOSTS:
            command(["ip", "netns", "add", host])
        ends = ["netns", HOSTS[0], "type", "veth", "peer", "name", CABLE, "netns", HOSTS[1]]
        command(["ip", "link", "add", CABLE, *ends])
        for host, address in zip(HOSTS, ADDRESSES, strict=True):
            command(["ip", "-n", host, "address", "add", f"{address}/24", "dev", CABLE])
            command(["ip", "-n", host, "link", "set", CABLE, "up"])
            command(["ip", "-n", host, "link", "set", "lo", "up"])
        yield
    finally:
        remove_hosts()


def remove_hosts() -> None:
    """Remove both namespaces, the cable with them, and what still runs in them."""
    for host in HOSTS:
        found = subprocess.run(["ip", "netns", "pids", host], capture_output=True, text=True, check=False)
        for pid in found.stdout.split():
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                continue
        subprocess.run(["ip", "netns", "delete", host], capture_output=True, check=False)


def command(words: Sequence[str]) -> str:
    """What a command prints. Raises `SystemExit` with what it complained about."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"communication: {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def run_on_both(cases: Sequence[Case], images: int, steps: int) -> list[Result]:
    """Run this file on both hosts through torchrun. Raises `SystemExit` if that fails on either."""
    told = json.dumps([asdict(case) for case in cases])
    program = [__file__, "--cases", told, "--images", str(images), "--steps", str(steps)]
    started: list[subprocess.Popen[str]] = []
    try:
        for number, host in enumerate(HOSTS):
            whole = ["ip", "netns", "exec", host, *launcher(number), *program]
            environment = {**os.environ, "GLOO_SOCKET_IFNAME": CABLE}
            started.append(subprocess.Popen(whole, env=environment, stdout=subprocess.PIPE, text=True))
        results = [heard(line) for process in started for line in process.stdout or ()]  # the first process prints
        if {process.wait() for process in started} != {0}:
            raise SystemExit("communication: training failed, see above")
        return results
    finally:
        for process in started:
            process.terminate()
            process.wait()


def launcher(number: int) -> list[str]:
    """`torchrun` on host `number`."""
    return [
        sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1",
        "--rdzv-backend", "c10d", "--rdzv-endpoint", f"{ADDRESSES[0]}:{PORT}",
        # Hosts know by their name whose address that is, and these have none of their own.
        "--rdzv-conf", f"is_host={1 - number}", "--local-addr", ADDRESSES[number],
    ]  # fmt: skip


def heard(line: str) -> Result:
    """What `measure_all` printed, shown while the rest is still being measured."""
    result = Result(**json.loads(line))
    print(f"{result.network} {result.gradients} {result.link}: {result.seconds:.2f} s", file=sys.stderr, flush=True)
    return result


# What it came to


def plan() -> list[Case]:
    """Both networks at all speeds, then the sizes of SqueezeNet's buckets."""
    together = tuple(link for link in LINKS if link != ALONE_LINK)
    cases = []
    for network in NETWORKS:
        cases.append(Case(network, (ALONE_LINK,)))
        cases += [Case(network, together, gradients) for gradients in get_args(Gradients)]
    slow = ("1 Gbit/s", "100 Mbit/s")
    return cases + [Case(NETWORKS[0], slow, bucket_mb=size) for size in BUCKETS_MB if size != BUCKET_MB]


def table(results: Sequence[Result]) -> str:
    """What a person reads."""
    alone = {r.network: r.seconds for r in results if r.link == ALONE_LINK}
    lines = ["| " + " | ".join(COLUMNS) + " |", "|-" * len(COLUMNS) + "|"]
    for r in results:
        if r.link == ALONE_LINK:
            continue
        expected = expected_sent(r.parameters, r.gradients)
        wait = r.seconds - alone[r.network]
        how = f"{r.network} | {r.gradients} | {r.bucket_mb:g} MB | {r.link}"
        lines.append(
            f"| {how} | {r.sent / 1e6:.2f} | {r.framed / 1e6:.2f} | {expected / 1e6:.2f} "
            f"| {r.again:.0f} | {r.seconds:.2f} | {alone[r.network]:.2f} | {wait:.2f} |"
        )
    return "\n".join([*lines, "", *ratios(results)])


def ratios(results: Sequence[Result]) -> list[str]:
    """AlexNet against SqueezeNet at each speed, by bytes and by time."""
    squeezenet, alexnet = (
        {(r.gradients, r.link): r for r in results if r.network == network and r.bucket_mb == BUCKET_MB}
        for network in NETWORKS
    )
    lines = ["| AlexNet / SqueezeNet | gradients | bytes | time |", "|-|-|-|-|"]
    for (gradients, link), large in alexnet.items():
        if link != ALONE_LINK and (small := squeezenet.get((gradients, link))):
            lines.append(
                f"| {link} | {gradients} | {large.framed / small.framed:.1f}x | {large.seconds / small.seconds:.1f}x |"
            )
    return lines


def main() -> int:
    """Measure on two hosts and print the table; with `--cases`, be a process on one of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=2, help="per process and step (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=10, help="to measure, fewer where they are slow (default: 10)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all results there")
    parser.add_argument("--cases", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.cases:
        measure_all([read_case(told) for told in json.loads(args.cases)], args.images, args.steps)
        return 0
    if lacking := what_lacks():
        print(f"communication: {lacking}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # `finally` removes the hosts
    with two_hosts():
        results = run_on_both(plan(), args.images, args.steps)
    print(f"{args.images} images per process, PyTorch {torch.__version__}, {platform.platform()}\n")
    print(table(results))
    if args.json:
        args.json.write_text(json.dumps([asdict(result) for result in results], indent=1) + "\n")
    return 0


def what_lacks() -> str | None:
    """Why two hosts cannot be made here."""
    missing = [tool for tool in ("ip", "tc") if shutil.which(tool) is None]
    if missing:
        return f"{' and '.join(missing)} not found; this needs Linux with iproute2"
    if os.geteuid() != 0:
        return "network namespaces are made by root only; run it with sudo"
    return None


def read_case(told: dict[str, Any]) -> Case:
    """A case as `run_on_both` sends it."""
    return Case(**{**told, "links": tuple(told["links"])})


if __name__ == "__main__":
    sys.exit(main())
