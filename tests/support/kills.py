"""Kill the update client at random moments: `python tests/support/kills.py FOLDER COUNT` (after `prepare`).

FOLDER has a publisher with two releases and a device that runs the first. Each child updates the device and is killed.
After every kill the device must have a whole model that can be loaded. The next child goes on with what the kill left.
"""

import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from squeezenet.errors import FleetError
from squeezenet.fleet import client
from squeezenet.fleet.disk import Disk
from squeezenet.fleet.state import load, model
from squeezenet.runtime.classifier import Classifier
from support.fleet import NOW, Files


def kills(folder: Path, count: int) -> dict[str, int]:
    """How many children were killed during an update, and how many updates were completed in spite of kills."""
    devices, device = folder / "car", folder / "killed"
    mirror, chance = Files(folder / "birds", size=256), random.Random(count)
    intact = {load(Disk(devices)).slots[0].sha256: 1}
    counted = {"killed": 0, "completed": 0, "given up": 0}
    for _ in range(2):  # the first one loads modules
        shutil.rmtree(device, ignore_errors=True)
        shutil.copytree(devices, device)
        start = time.perf_counter()
        client.update(device, mirror=mirror, now=NOW)
        longest = 1.1 * (time.perf_counter() - start)
    shutil.rmtree(device)
    shutil.copytree(devices, device)
    while counted["killed"] < count:
        child = os.fork()
        if child == 0:
            try:
                client.update(device, mirror=mirror, now=NOW)
            except FleetError:  # five kills hit the self-test
                os._exit(3)
            except BaseException:
                os._exit(4)
            os._exit(0)
        time.sleep(chance.uniform(0, longest))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            counted["killed"] += 1
        else:
            assert os.WEXITSTATUS(status) in (0, 3), "the update failed after a kill"
        index, data = model(Disk(device), state := load(Disk(device)))
        release = state.slots[index].release
        assert release in (1, 2)
        if intact.setdefault(state.slots[index].sha256, release) and counted["killed"] % 50 == 0:
            assert len(Classifier(data).labels) == 10
        if release == 2 or state.refused:
            counted["completed" if release == 2 else "given up"] += 1
            shutil.rmtree(device)
            shutil.copytree(devices, device)
    return counted


if __name__ == "__main__":
    print(kills(Path(sys.argv[1]), int(sys.argv[2])))  # noqa: T201
