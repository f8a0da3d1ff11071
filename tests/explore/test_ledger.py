"""Several workers and one memory: no trial is lost, none is done twice."""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from squeezenet.errors import SqueezeNetError, UsageError
from squeezenet.explore import ledger as ledgers
from squeezenet.explore.ledger import Ledger
from squeezenet.explore.storage import open_storage
from support.exploring import memory

WORKER = """
import sys, time
from squeezenet.explore.ledger import Ledger
from squeezenet.explore.storage import open_storage

where, log, seconds = sys.argv[1:]
ledger = Ledger(open_storage(where), stale=20)
names = [f"{number:016x}" for number in range(6)]
while any(entry.state != "done" for entry in ledger.look(names)):
    for name in names:
        claim = ledger.claim(name, {"number": name})
        if claim is None:
            continue
        with claim:
            print(name, flush=True)
            time.sleep(float(seconds))
            with open(log, "a") as file:
                file.write(name + "\\n")
            assert claim.finish({"name": name})
    time.sleep(0.2)
"""


@contextmanager
def redis():
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    pytest.importorskip("redis")
    port = 20000 + os.getpid() % 20000
    server = subprocess.Popen(
        ["redis-server", "--port", str(port), "--save", "", "--bind", "127.0.0.1"], stdout=subprocess.DEVNULL
    )
    try:
        for _ in range(100):
            if subprocess.run(["redis-cli", "-p", str(port), "ping"], capture_output=True).stdout == b"PONG\n":
                break
            time.sleep(0.1)
        yield f"redis://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


@contextmanager
def postgresql():
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs:
        pytest.skip("PostgreSQL is not installed")
    pytest.importorskip("psycopg")
    user = "postgres" if os.getuid() == 0 else None  # it refuses to run as root
    with tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as folder:
        if user:
            shutil.chown(folder, user)
        os.chmod(folder, 0o755)
        command = [str(programs[-1] / "initdb"), "-D", f"{folder}/db", "-U", "squeezenet", "-A", "trust", "-N"]
        subprocess.run(command, check=True, capture_output=True, user=user, cwd=folder)
        server = subprocess.Popen(
            [str(programs[-1] / "postgres"), "-D", f"{folder}/db", "-k", folder, "-h", "", "-F"],
            stderr=subprocess.DEVNULL, user=user, cwd=folder,
        )  # fmt: skip
        ready = [str(programs[-1] / "pg_isready"), "-h", folder]
        try:
            for _ in range(100):
                if subprocess.run(ready, capture_output=True).returncode == 0:
                    break
                time.sleep(0.1)
            yield f"postgresql://squeezenet@/postgres?host={folder}"
        finally:
            server.send_signal(2)
            server.wait()


@contextmanager
def journal():
    with tempfile.TemporaryDirectory() as folder:
        yield f"{folder}/trials.journal"


@pytest.mark.parametrize("server", [journal, redis, postgresql])
def test_two_workers_and_one_is_killed(server, tmp_path):
    log = tmp_path / "log"
    with server() as where:
        command = [sys.executable, "-c", WORKER, where, str(log)]
        doomed = subprocess.Popen([*command, "600"], stdout=subprocess.PIPE, text=True)
        victim = doomed.stdout.readline().strip()
        other = subprocess.Popen([*command, "0.05"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert other.stdout.readline().strip() != victim
        doomed.kill()
        doomed.wait()
        doomed.stdout.close()
        _, said = other.communicate(timeout=120)
        assert other.returncode == 0, said
        ledger = Ledger(open_storage(where))
        entries = ledger.entries()
        assert ledger.look([victim])[0].attempts == 1
        assert [entry.state for entry in entries] == ["done"] * 6
        assert sum(entry.attempts for entry in entries) == 1
    assert sorted(log.read_text().split()) == [f"{number:016x}" for number in range(6)]  # none lost, none twice


def test_a_silent_worker_on_another_machine_is_taken_for_dead(tmp_path, monkeypatch):
    patient, hasty = Ledger(memory(tmp_path), stale=30), Ledger(memory(tmp_path), stale=0.2)
    monkeypatch.setattr(ledgers, "_machine", lambda: "elsewhere")
    claim = patient.claim("a", {})
    monkeypatch.undo()
    assert patient.claim("a", {}) is None
    assert hasty.claim("a", {}) is None
    time.sleep(0.3)
    second = hasty.claim("a", {})
    assert hasty.look(["a"])[0].attempts == 1
    with pytest.raises(SqueezeNetError, match="silent"):
        claim.reach(1, 50.0)
    assert not claim.finish({"by": "the dead"})
    assert second.finish({"by": "the living"})
    assert patient.look(["a"])[0].result == {"by": "the living"}


def test_signs_of_life(tmp_path, monkeypatch):
    ledger, watcher = Ledger(memory(tmp_path), stale=0.6), Ledger(memory(tmp_path), stale=0.6)
    monkeypatch.setattr(ledgers, "_is_gone", lambda owner: False)
    with ledger.claim("a", {}):
        for _ in range(12):
            assert watcher.claim("a", {}) is None
            time.sleep(0.1)
    assert ledger.storage.get_all_trials(ledger._study)[0].user_attrs["beat"] >= 3


def test_of_workers_that_claim_at_once_one_holds(tmp_path):
    names, held, lock = [f"{n}" for n in range(5)], [], threading.Lock()

    def work():
        ledger = Ledger(memory(tmp_path))
        for name in names:
            claim = ledger.claim(name, {})
            if claim is not None:
                with lock:
                    held.append(name)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(held) == names
    assert all(entry.attempts == 0 for entry in Ledger(memory(tmp_path)).entries())


def test_a_journal_whose_last_line_was_cut_is_mended(tmp_path):
    Ledger(memory(tmp_path)).claim("a", {}).finish({"name": "a"})
    path = tmp_path / "trials.journal"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"op_code": 4, "worker')
    assert Ledger(memory(tmp_path)).look(["a"])[0].state == "done"
    assert path.read_bytes()[: len(whole)] == whole
    with pytest.raises(UsageError, match="accepted are"):
        open_storage("mysql://me:secret@host/x")
    with pytest.raises(SqueezeNetError, match=r"me:\*\*\*@.*does not answer"):
        open_storage("redis://me:secret@127.0.0.1:1")
