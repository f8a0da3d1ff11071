"""`squeezenet fleet ACTION`: every action, its JSON, its text, and its exit code."""

import json
import subprocess
import sys

import pytest

pytest.importorskip("tuf", reason="needs the extra [fleet]")
pytest.importorskip("cryptography", reason="needs the extra [publish]")

from squeezenet.cli.main import main
from support.fleet import serving, small_model


@pytest.fixture
def there(tmp_path, monkeypatch):
    """The working folder, with three models."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("no_proxy", "*")
    for number in (0, 3, 6):
        (tmp_path / f"{number}.sqz").write_bytes(small_model(number))
    return tmp_path


@pytest.fixture
def fleet(capsys):
    """Run an action: the JSON object it prints."""

    def run(*words):
        assert main(["fleet", *words, "--json"]) == 0, capsys.readouterr().err
        return json.loads(capsys.readouterr().out)

    return run


@pytest.fixture
def refused(capsys):
    """Run an action that fails: the exit code and the line on stderr."""

    def run(*words):
        code = main(["fleet", *words])
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1
        return code, captured.err.removeprefix("squeezenet fleet: ").strip()

    return run


def test_from_the_first_release_to_a_return(there, fleet, capsys):
    assert fleet("init", "birds", "--root-keys", "2", "--root-threshold", "2")["keys"] == [
        "root-1",
        "root-2",
        "targets-1",
        "online-1",
    ]
    assert fleet("publish", "birds", "0.sqz")["release"] == 1
    with serving(there / "birds/public") as server:
        root = str(there / "birds/public/metadata/1.root.json")
        fleet("enrol", "car", "--url", server.url, "--root", root, "--channel", "stable", "--model", "6.sqz")
        assert fleet("status", "car")["release"] == 0
        first = fleet("update", "car")
        assert (first["release"], first["before"], first["updated"]) == (1, 0, True)
        published = fleet("publish", "birds", "3.sqz", "--percent", "0", "--devices", "car", "bus")
        assert (published["release"], list(published["deltas"])) == (2, ["1"])
        assert fleet("update", "car", "--trial")["trial"]
        assert "on trial" in fleet("status", "car")["text"][0]
        assert fleet("confirm", "car")["release"] == 2
        assert fleet("rollback", "car")["release"] == 1
        assert fleet("status", "car")["refused"] == [2]
        assert fleet("rollout", "birds", "2", "--channel", "beta", "--percent", "12.5")["release"] == 2
        listed = fleet("releases", "birds")
        assert listed["releases"][1] == {"release": 2, "channels": {"stable": 0, "beta": 12.5}}
        assert fleet("withdraw", "birds", "2", "--reason", "sees no wrens")["release"] == 2
        assert "withdrawn: sees no wrens" in "\n".join(fleet("releases", "birds")["text"])
        assert fleet("renew", "birds")["staged"] is None
        assert fleet("revoke", "birds", "online-1")["keys"].count("online-2") == 1
        assert not fleet("update", "car")["updated"]
        (there / "birds/keys/root-2.pem").rename(there / "root-2.pem")
        assert fleet("renew", "birds", "--root")["staged"] == "birds/staged/3.root.json"
        (there / "root-2.pem").rename(there / "birds/keys/root-2.pem")
        assert fleet("sign", "birds")["staged"] is None
        assert main(["fleet", "update", "car"]) == 0
        assert capsys.readouterr().out.startswith("release 1 is up to date (")
        (there / "car/slot.a.sqz").write_bytes(b"")
        (there / "car/slot.b.sqz").write_bytes(b"")
        assert main(["fleet", "status", "car"]) == 1
        assert "it is DAMAGED: squeezenet fleet update car" in capsys.readouterr().out


def test_a_publisher_is_told_all_that_is_missing():
    """`tuf` is in the extra of devices, too, but a publisher needs more than this extra."""
    code = 'import sys; sys.modules["tuf"] = None; from squeezenet.cli.main import main; sys.exit(main(sys.argv[1:]))'
    done = subprocess.run([sys.executable, "-c", code, "fleet", "init", "birds"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith("needs tuf; install it with: pip install 'sqznet[publish]'")


def test_accuracy_is_measured_on_the_data(there, fleet, refused):
    fleet("init", "birds")
    assert fleet("publish", "birds", "0.sqz", "--data", "digits")["top1"] > 98
    worse = there / "worse.sqz"
    worse.write_bytes(small_model(40_000))
    code, line = refused("publish", "birds", "worse.sqz", "--data", "digits")
    assert code == 1
    assert line.startswith("worse.sqz: held back: top-1 is ")
    assert line.endswith("Publish it anyway with --override REASON")
    told = fleet("publish", "birds", "worse.sqz", "--data", "digits", "--override", "a test")["text"]
    assert any(text.startswith("overridden: top-1 is ") for text in told)


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ("update nowhere", 2, "nowhere: is not enrolled; squeezenet fleet enrol nowhere --url URL --root FILE"),
        ("renew nowhere", 2, "nowhere: is not a publisher's folder; make one with: squeezenet fleet init nowhere"),
        ("enrol car --url ftp://a/ --root 0.sqz", 2, "ftp://a/: only http and https addresses can be used"),
        (
            "enrol car --url http://a/ --root 0.sqz",
            1,
            "this is not the root of a publisher (Failed to deserialize JSON); it is called",
        ),
        ("enrol car --url http://a/ --root none", 2, "none: No such file or directory"),
        ("publish birds birds/fleet.json", 1, "fleet.json: not a .sqz file: it does not begin with the magic bytes"),
        ("publish birds none.sqz", 2, "none.sqz: No such file or directory"),
        (
            "publish birds 0.sqz --percent 101",
            2,
            "--percent 101: must be at most 100, with at most two decimals (squeezenet fleet publish --help)",
        ),
        ("publish birds 0.sqz --channel a/b", 2, "--channel a/b: use letters, digits, - and _ only"),
        ("init birds", 2, "birds: is a publisher's folder already; name another one"),
        ("rollout birds 9", 2, "birds: has no release 9; squeezenet fleet releases birds"),
        ("revoke birds online-7", 2, "online-7: no such key; the keys are online-1"),
        ("sign birds", 2, "birds/staged: no root waits for signatures"),
    ],
)
def test_a_mistake_is_one_line(there, fleet, capsys, words, code, told):
    fleet("init", "birds")
    assert main(["fleet", *words.split()]) == code
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert told in err
    assert sorted(path.name for path in there.iterdir() if path.name in ("car", "nowhere")) == []
