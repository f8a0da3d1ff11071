"""A runtime that waits for orders: `python warm.py RUNTIME KIND FOLDER THREADS BATCH`.

Says how well its logits agree with those of the float network (cosine). Then, for every line that holds a number,
runs once uncounted and that many times counted, and prints the milliseconds of the fastest.
"""

import sys
import time

import numpy as np
from load import load


def main() -> None:
    """Until there are no more orders."""
    runtime, kind, folder, threads, batch = sys.argv[1:]
    arrange, run = load(runtime, kind, folder, int(threads), int(batch))
    image = np.load(f"{folder}/image.npy").transpose(1, 2, 0)
    images = arrange(np.repeat(image[None], int(batch), 0))
    expected, logits = np.load(f"{folder}/logits.npy")[0], np.array(run(images))[-1]
    print(float(expected @ logits / np.linalg.norm(expected) / np.linalg.norm(logits)), flush=True)
    for line in sys.stdin:
        run(images)
        times = []
        for _ in range(int(line)):
            start = time.perf_counter()
            run(images)
            times.append(1000 * (time.perf_counter() - start))
        print(min(times), flush=True)


if __name__ == "__main__":
    main()
