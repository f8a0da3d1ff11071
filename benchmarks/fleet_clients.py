"""Many devices against one static web server, on the loopback: traffic, time, and whether the roll-out is as asked.

    .venv/bin/python benchmarks/fleet_clients.py --clients 1000

Every client is a real one, with a folder of its own; `--threads` of them run at the same time in this process. The web
server is that of the standard library, in a process of its own. Release 1 is installed by all. Release 2, which differs
in a few levels, is offered to 10%, 50% and 100% of them. Last, all ask once more without news.
"""

import argparse
import multiprocessing
import os
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from squeezenet import sqz, zoo
from squeezenet.errors import SqueezeNetError
from squeezenet.fleet import client, publisher, repository
from squeezenet.fleet.publisher import Plan
from squeezenet.fleet.releases import reached
from squeezenet.fleet.repository import Days, Keys

LEVELS = 25  # that differ between the releases


class Counting:
    """A file that adds what is written to a shared number."""

    def __init__(self, file: Any, total: Any) -> None:
        self.file, self.total = file, total

    def write(self, data: bytes) -> int:
        with self.total.get_lock():
            self.total.value += len(data)
        return int(self.file.write(data))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


def serve(public: Path, port: Any, sent: Any, requests: Any) -> None:
    """Serve a folder until the process is ended."""

    class Handler(SimpleHTTPRequestHandler):
        def setup(self) -> None:
            super().setup()
            self.wfile = Counting(self.wfile, sent)  # type: ignore[assignment]

        def log_message(self, *words: object) -> None:
            pass

        def log_request(self, *words: object) -> None:
            with requests.get_lock():
                requests.value += 1

    class Server(ThreadingHTTPServer):
        request_queue_size = 1024  # connections that wait

    with Server(("127.0.0.1", 0), partial(Handler, directory=str(public))) as http:
        port.value = http.server_port
        http.serve_forever()


def changed(data: bytes) -> bytes:
    """The model with a few levels raised by 1, spread over its layers."""
    model = sqz.decode(data)
    weights = dict(model.weights)
    for name, layer in weights.items():
        levels = layer.weight.levels.copy()
        levels.flat[:: max(1, levels.size * len(weights) // LEVELS)] += 1
        weights[name] = replace(layer, weight=replace(layer.weight, levels=levels))
    return sqz.encode(replace(model, weights=weights))


def main() -> None:
    """Read the arguments, and measure in a temporary folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=64)
    parser.add_argument("--model", default="digits", help="a model that ships (default: digits)")
    args = parser.parse_args()
    os.environ["no_proxy"] = "*"
    with tempfile.TemporaryDirectory() as temporary:
        measure(Path(temporary), args.clients, args.threads, (zoo.HERE / f"{args.model}.sqz").read_bytes())


def measure(base: Path, clients: int, threads: int, model: bytes) -> None:
    """Print a row for each step."""
    now = datetime.now(UTC)
    folder = repository.create(base / "publisher", Keys(3, 2), Keys(1, 1), Days(), now).folder
    publisher.publish(repository.load(folder), model, "model.sqz", Plan(), now)
    port, sent, requests = (multiprocessing.Value(kind, 0) for kind in "iqi")
    server = multiprocessing.Process(target=serve, args=(folder / "public", port, sent, requests), daemon=True)
    server.start()
    while not port.value:
        time.sleep(0.01)
    root = (folder / "public/metadata/1.root.json").read_bytes()
    devices = {f"device-{number}": base / f"devices/{number}" for number in range(clients)}
    for name, path in devices.items():
        client.enrol(path, f"http://127.0.0.1:{port.value}/", root, name)

    def update(path: Path) -> tuple[int, int, int]:
        try:
            got = client.update(path)
        except SqueezeNetError as error:
            print(f"{path.name}: {error}")
            return 0, 0, 0
        return got.release, got.metadata_bytes, got.model_bytes

    print(f"{clients:,} devices, {threads} at the same time, a model of {len(model):,} bytes; bytes are per device")
    heads = ("release 2", "expected", "failed", "metadata", "model", "sent", "requests", "s", "CPU s")
    print(f"{'step':<20}" + "".join(f"{head:>10}" for head in heads))

    def step(name: str, percent: float) -> None:
        before, began, used = (sent.value, requests.value), time.perf_counter(), time.process_time()
        with ThreadPoolExecutor(threads) as pool:
            got = list(pool.map(update, devices.values()))
        seconds, cpu = time.perf_counter() - began, time.process_time() - used
        time.sleep(0.2)  # the server's last lines
        counted = Counter(release for release, _, _ in got)
        expected = sum(reached(2, device, percent) for device in devices)
        columns = [sum(values) / clients for values in list(zip(*got, strict=True))[1:]]
        traffic = [
            (after - earlier) / clients for after, earlier in zip((sent.value, requests.value), before, strict=True)
        ]
        columns += [*traffic, seconds, cpu]
        numbers = f"{counted[2]:>10,}{expected:>10,}{counted[0]:>10}" + "".join(f"{each:>10,.1f}" for each in columns)
        print(f"{name:<20}{numbers}", flush=True)

    step("install release 1", 0)
    publisher.publish(repository.load(folder), changed(model), "model.sqz", Plan(percent=10), now)
    step("release 2 for 10%", 10)
    for percent in (50, 100):
        publisher.rollout(repository.load(folder), 2, Plan(percent=percent), now)
        step(f"release 2 for {percent}%", percent)
    step("no news", 100)
    server.terminate()
    server.join()


if __name__ == "__main__":
    main()
