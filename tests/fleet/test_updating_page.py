"""docs/updating.md as a reader would type it: publish, two cars, a bad release, a stolen key."""

import re
import shlex
import socket
import subprocess
import sys
import time

import pytest

pytest.importorskip("tuf", reason="needs the extra [fleet]")
pytest.importorskip("cryptography", reason="needs the extra [publish]")

from squeezenet.cli.main import main
from support import ROOT

BLOCK = re.compile(r"^```console walkthrough( fails)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PORT = "8000"


@pytest.mark.slow
@pytest.mark.timeout(1800)  # it squeezes two models, which takes 20 seconds of a core that is not shared
def test_the_walkthrough_updates_two_cars(tmp_path, monkeypatch, capsys):
    """The commands run in this process, since each start of Python takes a second; the web server has its own."""
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs/updating.md").read_text(encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    server, printed = None, []
    try:
        for fails, block in BLOCK.findall(text):
            for line in block.replace(PORT, port).splitlines():
                program, *words = shlex.split(line)
                if program == "python3":
                    server = subprocess.Popen([sys.executable, *words], stderr=subprocess.DEVNULL)
                    answers(int(port))
                elif program == "squeezenet":
                    code = main(words)
                    out, errors = capsys.readouterr()
                    assert code == (1 if fails else 0), (line, errors)
                    printed.append(errors.splitlines()[-1] if fails else out)
                else:
                    subprocess.run([program, *words], check=True)
    finally:
        if server is not None:
            server.terminate()
            server.wait()
    said = "\n".join(printed)
    told = ["release 1 is installed", "release 1 was replaced by release 2", "release 1 is up to date",
            r"worse\.sqz: held back: top-1 is .*that of release 2", "online-1 replaced by online-2",
            "timestamp metadata refused: timestamp was signed by 0/1 keys; the model in use stays",
            "release 2 is up to date", r"car-1 \(channel stable"]  # fmt: skip
    for pattern in told:
        assert re.search(pattern, said), (pattern, said)
    for quoted in re.findall(r"prints `([^…`]*)`", text):
        assert quoted in said


def answers(port):
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("the web server does not start")
