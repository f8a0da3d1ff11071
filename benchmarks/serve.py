"""The server under overload, against the engine alone: images per second, statuses, memory.

    .venv/bin/python benchmarks/serve.py --threads 1

The columns of CPU time are milliseconds of one core per labelled image. On a machine that does other things they say
more than images per second: `threads` counts the threads that classify, `loop` the event loop, which also reads and
refuses the requests that get no place, and `wrk` the clients. The two ratios of CPU time compare the engine alone with
the threads, and with the whole server.

The two measurements take turns: first, threads of this process decode and classify one image again and again; then
`squeezenet serve` does the same with as many threads, while `wrk` offers `--times` as many requests as the engine alone
can answer. Each of wrk's connections waits a moment after each answer, as clients do that were told to try again later.
wrk and the event loop of the server need processor time, too: leave a core for them.
"""

import argparse
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from squeezenet import load
from squeezenet.serve.settings import Limits

HERE = Path(__file__).parent
FINE = {"200", "429", "503"}
"""The statuses that an overloaded server may answer with."""

SCRIPT = """
local file = io.open("{image}", "rb")
wrk.method = "POST"
wrk.body = file:read("*a")
wrk.headers["Content-Type"] = "image/jpeg"
counts = {{}}
local threads = {{}}
function setup(thread) table.insert(threads, thread) end
function delay() return {delay} end
function response(status) counts[status] = (counts[status] or 0) + 1 end
function done(summary, latency, requests)
  for _, thread in ipairs(threads) do
    for status, count in pairs(thread:get("counts")) do print("status " .. status .. " " .. count) end
  end
  for kind, count in pairs(summary.errors) do if kind ~= "status" then print("status " .. kind .. " " .. count) end end
  print("seconds " .. summary.duration / 1e6)
end
"""


def engine_alone(model: str, image: bytes, threads: int, seconds: float) -> tuple[float, float]:
    """Images per second of `threads` threads that decode and classify, and CPU seconds per image."""
    classifier = load(model)
    classifier.classify(image)
    counts = [0] * threads
    end = time.monotonic() + seconds

    def work(index: int) -> None:
        while time.monotonic() < end:
            classifier.classify(image)
            counts[index] += 1

    since, used = time.monotonic(), time.process_time()
    running = [threading.Thread(target=work, args=(index,)) for index in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return sum(counts) / (time.monotonic() - since), (time.process_time() - used) / sum(counts)


def overload(address: str, script: str, connections: int, seconds: float) -> tuple[dict[str, int], float]:
    """Number of answers by status (or kind of error), and the seconds that it took."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:.0f}s", "--timeout=60s", "-s", file.name, address]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return parsed(out)


def parsed(out: str) -> tuple[dict[str, int], float]:
    """What the script printed."""
    found = {kind: int(count) for kind, count in re.findall(r"^status (\w+) (\d+)$", out, re.MULTILINE)}
    seconds = re.search(r"^seconds ([\d.]+)$", out, re.MULTILINE)
    assert seconds is not None, out
    return {kind: count for kind, count in found.items() if count}, float(seconds[1])


def resident(process: int) -> int:
    """Bytes of memory of a process now."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def used(process: int) -> tuple[float, float]:
    """CPU seconds of the first thread of a process, and of all others that run now."""
    first = others = 0.0
    for task in Path(f"/proc/{process}/task").iterdir():
        fields = (task / "stat").read_text().rpartition(")")[2].split()
        seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        if int(task.name) == process:
            first = seconds
        else:
            others += seconds
    return first, others


def of_children() -> float:
    """CPU seconds of the processes that this one has started and that have ended: here wrk."""
    found = resource.getrusage(resource.RUSAGE_CHILDREN)
    return found.ru_utime + found.ru_stime


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="imagenet")
    parser.add_argument("--image", type=Path, default=HERE.parent / "docs" / "chelsea.jpg")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--connections", type=int, default=128)
    parser.add_argument("--times", type=float, default=4.0, help="offered requests, in images that the engine can do")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each turn")
    parser.add_argument("--turns", type=int, default=3)
    args = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is not installed")
    image = args.image.read_bytes()
    waiting = Limits(workers=args.threads).share  # connections that wait for their answer, the others for their turn
    command = [sys.executable, "-m", "squeezenet", "serve", f"m={args.model}", "--port", "0", "--json"]
    command += ["--threads", str(args.threads)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    address = json.loads(server.stdout.readline())["address"] + "/v1/models/m/classify"
    ratios, processor, total, before, memory = [], [], {}, 0, 0
    print(
        "| turn | engine alone, images/s | server, images/s | ratio | offered / engine | CPU alone, ms | threads, ms ",
        end="",
    )
    print("| loop, ms | wrk, ms | alone / threads | alone / server | RSS, MB | answers |")
    print("|-|-|-|-|-|-|-|-|-|-|-|-|-|")
    try:
        for turn in range(args.turns + 1):  # the first one warms up
            alone, cpu = engine_alone(args.model, image, args.threads, args.seconds if turn else 3)
            delay = round(1000 * (args.connections - waiting) / (args.times * alone))
            script = SCRIPT.format(image=args.image, delay=delay)
            loop, threads = used(server.pid)
            clients = of_children()
            counts, seconds = overload(address, script, args.connections, args.seconds if turn else 5)
            loop, threads = (now - then for now, then in zip(used(server.pid), (loop, threads), strict=True))
            clients = of_children() - clients
            memory = resident(server.pid)
            if not turn:
                before = memory
                continue
            images = max(1, counts.get("200", 0))
            ratios.append(images / seconds / alone)
            processor.append(cpu * images / threads)
            total = {kind: total.get(kind, 0) + counts.get(kind, 0) for kind in total | counts}
            figures = [f"{alone:.1f}", f"{images / seconds:.1f}", f"{ratios[-1]:.3f}"]
            figures += [f"{sum(counts.values()) / seconds / alone:.2f}", f"{1000 * cpu:.2f}"]
            figures += [f"{1000 * part / images:.2f}" for part in (threads, loop, clients)]
            figures += [f"{processor[-1]:.3f}", f"{cpu * images / (threads + loop):.3f}"]
            print("|", " | ".join([str(turn), *figures, f"{memory / 1e6:.1f}", str(counts)]), "|", flush=True)
    finally:
        server.terminate()
        code = server.wait(60)
    wrong = {kind: count for kind, count in total.items() if kind not in FINE}
    print(
        f"ratio: mean {statistics.fmean(ratios):.3f}, {min(ratios):.3f} to {max(ratios):.3f}; of CPU time: mean "
        f"{statistics.fmean(processor):.3f}, {min(processor):.3f} to {max(processor):.3f}; memory: "
        f"{before / 1e6:.1f} MB after 5 seconds, {memory / 1e6:.1f} MB at the end; other answers than 200, 429, 503: "
        f"{wrong or 'none'}; exit code {code}"
    )
    return 1 if wrong or code else 0


if __name__ == "__main__":
    sys.exit(main())
