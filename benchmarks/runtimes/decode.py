"""Milliseconds from the bytes of a file to a network ready to run: `python decode.py MODEL.sqz THREADS`.

Once a process, as when an image is classified: fresh memory and what the engine does only the first time count.
"""

import sys
import time
from pathlib import Path

from squeezenet.runtime.engine import EngineRunner


def main() -> None:
    """Print them."""
    file, threads = sys.argv[1:]
    data = Path(file).read_bytes()
    start = time.perf_counter()
    network = EngineRunner(data, int(threads))
    milliseconds = 1000 * (time.perf_counter() - start)
    assert network.labels is not None  # alive until here: freeing it is not timed
    print(milliseconds)


if __name__ == "__main__":
    main()
