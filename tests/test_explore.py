"""The design space: trials by content, one ledger for all workers, sweeps, search, halving."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from argparse import ArgumentParser
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from squeezenet.cli import train
from squeezenet.cli.live import Live
from squeezenet.cli.main import _explain, main
from squeezenet.data import load_data
from squeezenet.errors import SqueezeNetError, UsageError
from squeezenet.explore import ledger as ledgers
from squeezenet.explore import search as searches
from squeezenet.explore import work as works
from squeezenet.explore.halving import is_hopeless
from squeezenet.explore.ledger import Entry, Ledger
from squeezenet.explore.results import curves, pareto, read_results, write_results
from squeezenet.explore.search import Budgets, Space, search, study_of
from squeezenet.explore.storage import open_storage
from squeezenet.explore.sweeps import trials
from squeezenet.explore.trial import Squeezed, Trial, costs, fingerprint, train_command
from squeezenet.explore.work import Work
from squeezenet.graph import Add, Concat, Conv, Flatten, GlobalAvgPool, Graph, ReLU, peak_elements
from squeezenet.models import Metaparameters
from squeezenet.report.design_space import write_report
from squeezenet.training import MODERN, PAPER

TINY = Metaparameters(base_e=16, incr_e=8, fires=2, stem="32", classes=10, in_channels=1)
QUICK = ["--data", "digits", "--set", "base_e=16", "--set", "incr_e=8", "--set", "fires=2", "--epochs", "1",
         "--max-images", "120", "--judge-by", "40", "--squeeze-bytes", "3500"]  # fmt: skip


@pytest.fixture(scope="module")
def data():
    return load_data("digits")


@pytest.fixture(scope="module")
def trial(data):
    recipe = replace(MODERN, epochs=1.0, augmentation=replace(MODERN.augmentation, mirror=False, pad=1))
    return Trial(TINY, 16, recipe, fingerprint(data), 120, 40, Squeezed(max_bytes=3500))


def memory(tmp_path):
    return open_storage(str(tmp_path / "trials.journal"))


def stub(trial, data, work, on_epoch=lambda row: None):
    """`measure` without training: wide networks are accurate."""
    known = costs(trial)
    top1 = min(99.0, known.parameters**0.5 / 4)
    for epoch in range(1, round(trial.recipe.epochs) + 1):
        on_epoch({"epoch": float(epoch), "top1": top1 * epoch / trial.recipe.epochs})
    size = trial.squeeze.goal(known.parameters)
    return {
        "name": trial.name, "trial": trial.to_dict(), "source": "stub", "top1": top1, "top5": top1,
        "parameters": known.parameters, "float_bytes": 4 * known.parameters, "macs": known.macs, "ram": known.ram,
        "bytes": size, "top1_squeezed": top1 - 1, "top5_squeezed": top1, "judged": 40, "seconds": 1.0, "versions": {},
        "hardware": "none", "epochs": trial.recipe.epochs, "images_per_second": 1.0,
    }  # fmt: skip


def test_a_trial_is_named_by_what_it_consists_of(trial, data):
    assert trial.name == Trial.from_dict(json.loads(json.dumps(trial.to_dict()))).name
    assert trial.name == replace(trial, recipe=replace(trial.recipe, name="other title")).name
    others = [trial.seeded(1), replace(trial, images=121), replace(trial, squeeze=Squeezed(max_bytes=3501)),
              replace(trial, network=replace(TINY, sr=0.5)), replace(trial, data="0" * 16)]  # fmt: skip
    assert len({t.name for t in [trial, *others]}) == 6
    assert fingerprint(data) == fingerprint(load_data("digits"))
    assert fingerprint(load_data("digits", seed=1)) == fingerprint(data)  # digits has its own split
    with pytest.raises(UsageError, match="another version"):
        Trial.from_dict({**trial.to_dict(), "network": {"depth": 3}})
    for wrong in (("squeeze", -1), ("none", 100), ("zip", 0)):
        with pytest.raises(UsageError):
            Squeezed(*wrong)


def test_peak_ram_is_that_of_a_fire_module_counted_by_hand():
    fire = (
        Conv((0,), "conv1", 8, (3, 3), padding=(1, 1)), ReLU((1,)),  # image 48 + 128
        Conv((2,), "squeeze", 4, (1, 1)), ReLU((3,)),  # 128 + 64
        Conv((4,), "expand1x1", 6, (1, 1)), ReLU((5,)),  # 64 + 96
        Conv((4,), "expand3x3", 6, (3, 3), padding=(1, 1)), ReLU((7,)),  # 64 + 96 + 96
        Concat((6, 8)), GlobalAvgPool((9,)), Flatten((10,)),
    )  # fmt: skip
    assert peak_elements(Graph((3, 4, 4), fire)) == 256
    bypass = (*fire[:6], replace(fire[6], out=6), fire[7], Add((6, 8)), *(Flatten((i,)) for i in (9,)))
    assert peak_elements(Graph((3, 4, 4), bypass)) == 256  # the sum lies where an operand lay
    early = (*fire[:2], *(replace(op) for op in fire[2:8]), Concat((2, 6, 8)), Flatten((9,)))
    assert peak_elements(Graph((3, 4, 4), early)) == 256 + 128  # what is still to be read is kept


def test_the_command_of_a_point_trains_that_network(trial):
    odd = replace(trial.recipe, ema=0.9, seed=7, augmentation=replace(trial.recipe.augmentation, erase=3))
    iterations = replace(PAPER, iterations=20, batch_size=30)
    for recipe in (odd, iterations):
        point = replace(trial, network=replace(TINY, stem="32 late", bypass="simple", sr=0.75), recipe=recipe)
        parser = ArgumentParser()
        train.configure(parser)
        words = shlex.split(train_command(point, "photos"))
        job = train.settings(parser.parse_args([*words[2:], "--out", "x"]))
        assert replace(job.recipe, name=recipe.name) == recipe
        assert replace(point.network, **job.network) == point.network
        assert job.image_size == 16
        meta = {**Metaparameters(stem="32").__dict__, **job.network, "classes": 10, "in_channels": 1}
        assert Metaparameters(**meta) == point.network


def explore(capsys, *arguments, code=0):
    assert main(["explore", *map(str, arguments), "--json"]) == code
    out, err = capsys.readouterr()
    assert out.count("\n") == 1
    return json.loads(out), err


def test_a_sweep_is_done_once_and_grows(tmp_path, capsys):
    command = [*QUICK, "--out", tmp_path, "--vary", "sr", "--values", "0.25,0.5"]
    first, _ = explore(capsys, *command)
    assert (first["done"], first["failed"]) == (2, 0)
    rows = read_results(tmp_path)
    assert {row["name"] for row in rows} == {t["name"] for t in first["trials"]}
    for row in rows:
        file = tmp_path / "runs" / row["name"] / "squeezed.sqz"
        assert row["bytes"] == file.stat().st_size <= 3500
        assert (row["judged"], row["source"]) == (40, "digits")
        assert row["float_bytes"] == 4 * row["parameters"]
        assert {"macs", "ram", "seconds", "versions", "hardware"} <= set(row)
        assert not (tmp_path / "runs" / row["name"] / "checkpoints").exists()
    written = {p: p.stat().st_mtime_ns for p in tmp_path.glob("runs/*/*")}
    again, _ = explore(capsys, *command)
    assert again["trials"] == first["trials"]
    more, _ = explore(capsys, *command, "--seeds", 2)
    assert (more["done"], len(read_results(tmp_path))) == (4, 4)
    assert written.items() <= {p: p.stat().st_mtime_ns for p in tmp_path.glob("runs/*/*")}.items()
    (curve,) = curves(read_results(tmp_path), "sr")
    assert [(p.value, p.seeds) for p in curve.points] == [(0.25, 2), (0.5, 2)]
    assert curve.points[0].ram == curve.points[1].ram
    shown, _ = explore(capsys, *QUICK, "--out", tmp_path, "--search", 1, "--set", "freq=1", "--max-macs", 500_000)
    assert shown["done"] + shown["failures"] == 1
    assert shown["best"] is None or shown["best"]["command"].startswith("squeezenet train")
    assert all(row["macs"] <= 500_000 for row in shown["trials"] if row["state"] == "done")


def test_what_was_interrupted_goes_on(trial, data, tmp_path):
    trial = replace(trial, recipe=replace(trial.recipe, epochs=2.0))
    heard = []

    def stop(trial, what, about):
        heard.append((what, about.get("epoch")))
        if what == "epoch":
            signal.raise_signal(signal.SIGINT)

    ledger = Ledger(memory(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        Work(ledger, data, tmp_path, stop).sweep([trial])
    assert ledger.entry(trial.name).state == "open"
    assert ledger.entry(trial.name).attempts == 0
    calm = Work(ledger, data, tmp_path, lambda trial, what, about: heard.append((what, about.get("epoch"))))
    calm.sweep([trial])
    assert heard == [("begins", None), ("epoch", 1.0), ("begins", None), ("epoch", 2.0), ("done", None)]
    (row,) = read_results(tmp_path)
    whole = works.measure(trial, data, tmp_path / "whole")
    assert [row[key] for key in ("top1", "bytes", "top1_squeezed")] == [
        whole[key] for key in ("top1", "bytes", "top1_squeezed")
    ]


def test_failures_are_recorded_and_retried_up_to_a_limit(trial, data, tmp_path, monkeypatch):
    tries = []

    def broken(trial, *rest):
        tries.append(trial.network.sr)
        if trial.network.sr == 0.5:
            raise RuntimeError("CUDA out of memory\n  a second line")
        if trial.network.sr == 0.25:
            raise UsageError("too small")
        return stub(trial, *rest)

    monkeypatch.setattr(works, "measure", broken)
    ledger = Ledger(memory(tmp_path))
    planned = trials(trial, "sr", (0.25, 0.5, 1.0), seeds=1)
    Work(ledger, data, tmp_path).sweep(planned)
    assert sorted(tries) == [0.25, 0.5, 0.5, 0.5, 1.0]  # what is impossible is not tried again
    assert [ledger.entry(t.name).state for t in planned] == ["failed", "failed", "done"]
    assert ledger.entry(planned[1].name).reason == "RuntimeError: CUDA out of memory a second line"
    Work(ledger, data, tmp_path).sweep(planned)
    assert len(tries) == 5
    Work(Ledger(memory(tmp_path), attempts=4), data, tmp_path).sweep(planned)
    assert len(tries) == 6


def test_a_failed_sweep_says_so(tmp_path, capsys):
    told, _ = explore(capsys, *QUICK, "--out", tmp_path, "--vary", "bypass", "--values", "none", "--attempts", 1,
                      "--squeeze-bytes", 300, code=1)  # fmt: skip
    assert (told["done"], told["failed"]) == (0, 1)
    assert "300 bytes" in told["trials"][0]["reason"]


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
        assert ledger.entry(victim).attempts == 1
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
    assert hasty.entry("a").attempts == 1
    with pytest.raises(SqueezeNetError, match="silent"):
        claim.reach(1, 50.0)
    assert not claim.finish({"by": "the dead"})
    assert second.finish({"by": "the living"})
    assert patient.entry("a").result == {"by": "the living"}


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
    assert Ledger(memory(tmp_path)).entry("a").state == "done"
    assert path.read_bytes()[: len(whole)] == whole
    with pytest.raises(UsageError, match="accepted are"):
        open_storage("mysql://me:secret@host/x")
    with pytest.raises(SqueezeNetError, match=r"me:\*\*\*@.*does not answer"):
        open_storage("redis://me:secret@127.0.0.1:1")


def test_a_trial_is_hopeless_only_among_its_peers(trial):
    trial = replace(trial, recipe=replace(trial.recipe, epochs=9.0))
    large = replace(trial, network=replace(TINY, base_e=64))

    def entry(number, of, top1):
        return Entry(f"{number}", of.to_dict(), "done", 0, {}, "", {3: top1})

    rivals = [entry(n, trial, top1) for n, top1 in enumerate((50.0, 60.0, 70.0))]
    assert is_hopeless(trial, 3, 40.0, rivals)
    assert not is_hopeless(trial, 3, 65.0, rivals)
    assert not is_hopeless(trial, 2, 40.0, rivals)  # no rung
    assert not is_hopeless(trial, 3, 40.0, rivals[:1])  # too few to say
    assert not is_hopeless(trial, 3, 40.0, [entry(n, large, 90.0) for n in range(5)])  # they cost more
    assert not is_hopeless(trial, 3, 40.0, [entry(n, replace(trial, images=99), 90.0) for n in range(5)])
    assert is_hopeless(large, 3, 40.0, rivals)


def test_a_search_keeps_to_its_budgets_and_to_its_count(trial, data, tmp_path, monkeypatch):
    calls = []

    def counted(trial, *rest):
        calls.append(trial.name)
        return stub(trial, *rest)

    monkeypatch.setattr(works, "measure", counted)
    base = replace(trial, squeeze=Squeezed(), recipe=replace(trial.recipe, epochs=9.0))
    space, budgets = Space(base, frozenset({"fires"})), Budgets(bytes=2000, ram=4000, macs=2_000_000)
    work = Work(Ledger(memory(tmp_path)), data, tmp_path)
    progress = search(work, space, budgets, 12, halving=True)
    assert progress.finished == len(calls) == len(set(calls)) == 12
    assert progress.refused > 0
    assert progress.stopped > 0
    rows = read_results(tmp_path)
    assert all(r["macs"] <= 2_000_000 and r["ram"] <= 4000 and r.get("bytes", 0) <= 2000 for r in rows)
    assert len({json.dumps(r["trial"]["network"]) for r in rows}) > 8
    assert search(work, space, budgets, 12, halving=True) == progress
    assert len(calls) == 12
    front = pareto(rows)
    assert 0 < len(front) <= progress.done
    # A worker that was killed between proposing and finishing: its trial is the next one's.
    orphan = trial.seeded(9)
    asked = study_of(work, space, budgets).ask()
    asked.set_user_attr("trial", orphan.to_dict())
    asked.set_user_attr("name", orphan.name)
    search(work, space, budgets, 13, halving=False)
    assert calls[12:] == [orphan.name]
    monkeypatch.setattr(searches, "REFUSED", 5)
    with pytest.raises(UsageError, match="over budget"):
        search(work, space, Budgets(macs=10), 1, halving=False)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--vary", "sr", "--max-macs", "5"], "--max-macs is for --search"),
        (["--search", "3", "--values", "1"], "--values is for --vary"),
        (["--vary", "sr", "--values", "much"], "must be numbers"),
        (["--vary", "sr", "--values", "-1"], "cannot work for sr"),
        (["--vary", "base_e", "--values", "8"], "fixes what --vary base_e varies"),
        (["--vary", "image_size", "--values", "2"], "do not fit"),
        (["--vary", "sr", "--model", "alexnet_32"], "no metaparameters"),
        (["--search", "0"], "at least 1"),
        (["--search", "1", "--max-bytes", "9", "--method", "none", "--squeeze-bytes", "0"], "--method squeeze"),
        (["--vary", "sr", "--max-images", "0"], "not enough"),
    ],
)
def test_wrong_usage_is_one_line(tmp_path, capsys, wrong, said):
    settings = [] if "--model" in wrong else QUICK[2:]
    assert main(["explore", "--data", "digits", *settings, *wrong, "--out", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert said in err
    assert not (tmp_path / "runs").exists()


def test_without_optuna_one_line_says_what_to_install():
    said = _explain(ModuleNotFoundError("No module named 'optuna'", name="optuna"))
    assert "pip install 'squeezenet[explore]'" in str(said)


def test_pages_of_progress(trial):
    class Terminal:
        text = ""

        def isatty(self):
            return True

        def write(self, text):
            self.text += text

        def flush(self):
            pass

    terminal = Terminal()
    with Live(lambda: (2 * costs(trial).macs * 120.0, 1), lambda trial: "sr 0.125", terminal) as live:
        sys.stderr.write("a warning\n")
        live.listen(trial, "begins", {})
        live.listen(trial, "epoch", {"epoch": 1.0, "top1": 33.0})
        live.listen(trial, "done", stub(trial, None, None) | {"seconds": 300.0})
        live.listen(trial.seeded(1), "failed", {"reason": "no luck"})
    assert "a warning" in terminal.text
    last = terminal.text.split("\x1b[")[-1]
    assert "1 done, 1 failed here; about 10 minutes left, 1 at work" in last
    assert "failed: no luck" in last


@pytest.fixture(scope="module")
def campaign(trial, tmp_path_factory):
    """Results of all sweeps, three seeds each, as if they had been measured."""
    out = tmp_path_factory.mktemp("campaign")
    rows = {}
    for sweep in ("sr", "pct3x3", "bypass"):
        for made in trials(trial, sweep, None, seeds=3):
            row = stub(made, None, None)
            row["top1"] += made.recipe.seed
            rows[made.name] = row
    write_results(out / "results.jsonl", list(rows.values()))
    write_report(out / "report.html", read_results(out))
    return out


def test_the_report_stands_alone(campaign):
    page = (campaign / "report.html").read_text()
    for said in ("Figure 3 (a)", "Figure 3 (b)", "Table 3", "±", "86", "Networks that nothing dominates"):
        assert said in page
    assert re.findall(r"(?:src|href)=[\"'](?!#)([^\"']*)", page) == []  # nothing to fetch
    assert "<script" not in page
    links = set(re.findall(r'xlink:href="#(trial-[0-9a-f]+)"', page))
    assert links
    assert len(links) == 5 + 6 + 3 - 2  # two networks belong to two sweeps; three seeds are one point
    assert links == set(re.findall(r'<div id="(trial-[0-9a-f]+)"', page))
    assert page.count("squeezenet train --model") == len(links)


def test_the_report_in_a_browser(campaign, tmp_path):
    browsers = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium is installed")
    with browsers.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 800})  # a phone
        asked, troubles = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: troubles.append(message.text))
        page.goto((campaign / "report.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert page.evaluate("document.querySelectorAll('svg').length") >= 8
        assert page.locator("details[open]").count() == 0
        page.locator("svg a").last.click(force=True)
        page.wait_for_function("location.hash.startsWith('#trial-')")
        command = page.locator(page.evaluate("location.hash")).locator("code")
        assert command.is_visible()
        assert command.inner_text().startswith("squeezenet train")
        if os.environ.get("SCREENSHOTS"):
            page.screenshot(path=os.environ["SCREENSHOTS"], full_page=True)
        page.emulate_media(media="print")
        assert page.locator("details code").last.evaluate("it => it.getClientRects().length") > 0
        assert [url for url in asked if not url.startswith("file:")] == []
        assert troubles == []
        browser.close()


def reproduce(capsys, *arguments, code=0):
    assert main(["reproduce", *map(str, arguments), "--json"]) == code
    return json.loads(capsys.readouterr().out)["rows"] if code == 0 else capsys.readouterr().err


def test_the_paper_beside_ours(campaign, capsys):
    rows = reproduce(capsys, "figure3", "--results", campaign)
    assert [row["value"] for row in rows] == [0.125, 0.25, 0.5, 0.75, 1.0, 0.01, 0.125, 0.25, 0.5, 0.75, 0.99]
    assert [round(row["recomputed"]["parameters"], -3) for row in rows[:5]] == [
        1248000, 1967000, 3404000, 4842000, 6279000,
    ]  # fmt: skip
    assert rows[3]["paper"] == {"megabytes": 19, "top1": None, "top5": 86.0}
    for row in rows:
        (told,) = row["measured"]
        assert (told["source"], told["seeds"], told["images"]) == ("stub", 3, 120)
        assert told["deviation"] == pytest.approx(1.0)
    bypass = reproduce(capsys, "table3")
    assert [row["recomputed"]["parameters"] for row in bypass] == [1248424, 1248424, 1248424 + 341248]
    assert all(row["measured"] == [] for row in bypass)
    assert main(["reproduce", "figure3", "--results", str(campaign)]) == 0
    assert "± 1.00" in capsys.readouterr().out


def test_table_1_counts_weights(campaign, capsys, tmp_path):
    rows = reproduce(capsys, "table1")
    assert sum(row["recomputed"]["parameters"] for row in rows) == 1248424
    for row in rows:
        assert row["recomputed"]["parameters"] == row["paper"]["parameters"]
        assert abs(row["recomputed"]["after"] - row["paper"]["after"]) <= 2
        assert row["measured"] is None
    assert main(["reproduce", "table1"]) == 0
    assert "421,098" in capsys.readouterr().out
    for wrong in (["table1", "--results", campaign], ["table3", "--weights", "x"], ["figure3", "--results", tmp_path],
                  ["table2"], ["table1", "--weights", "digits"]):  # fmt: skip
        assert reproduce(capsys, *wrong, code=2).count("\n") == 1
