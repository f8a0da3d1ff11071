"""Milliseconds from the start of a process to its first line, its peak resident MB (10^6), and the line.

    python -I -S stopwatch.py COMMAND...

A process begins as a copy of the one that starts it, and that counts for its peak: so this one stays small.
"""

import os
import sys
import time


def main() -> None:
    """Print the three, one a line; exit 1 if the command failed."""
    reading, writing = os.pipe()
    start = time.perf_counter()
    child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, writing, 1)])
    os.close(writing)
    with open(reading) as said:
        line = said.readline()
        milliseconds = 1000 * (time.perf_counter() - start)
        line += said.read()
    _, status, usage = os.wait4(child, 0)
    if status:
        sys.exit(1)
    print(milliseconds, usage.ru_maxrss * 1024 / 1e6, line.rstrip(), sep="\n")


if __name__ == "__main__":
    main()
