"""A run folder of somebody else: links are refused, and only our own leftovers are removed."""

import pytest

from squeezenet.errors import CheckpointError
from squeezenet.files import remove_leftovers
from squeezenet.training.run_folder import OURS, locked, open_run


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("there", [True, False], ids=["file", "dangling"])
def test_a_run_folder_with_links_is_refused(tmp_path, name, there):
    precious = tmp_path / "precious"
    if there:
        precious.write_text("years of work")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.json").write_text("{}")
    (tmp_path / "run" / name).unlink(missing_ok=True)
    (tmp_path / "run" / name).symlink_to(precious)
    with pytest.raises(CheckpointError, match=f"{name}: is a symbolic link"):
        open_run(tmp_path / "run", {})
    if name == ".lock":
        with pytest.raises(CheckpointError, match="cannot be opened"), locked(tmp_path / "run"):
            pass
    assert precious.exists() == there
    if there:
        assert precious.read_text() == "years of work"


def test_the_lock_leaves_what_is_in_it(tmp_path):
    (tmp_path / ".lock").write_text("a note")
    with locked(tmp_path):
        pass
    assert (tmp_path / ".lock").read_text() == "a note"


def test_only_our_leftovers_are_removed(tmp_path):
    for name in (".notes.tmp", ".config.json.tmp", ".thesis.tex.abcdefgh.tmp", ".config.json.abcdefgh.tmp"):
        (tmp_path / name).write_text("x")
    remove_leftovers(tmp_path, ("config.json",))
    assert {p.name for p in tmp_path.iterdir()} == {".notes.tmp", ".config.json.tmp", ".thesis.tex.abcdefgh.tmp"}
