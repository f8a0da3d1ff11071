"""The parts of release/ that need no compiler: names of systems, archives without times, the workflow, the check."""

import io
import re
import tarfile
from importlib.util import module_from_spec, spec_from_file_location

import pytest
from packaging.tags import Tag
from packaging.utils import parse_wheel_filename

from support import ROOT


def script(name):
    spec = spec_from_file_location(name, ROOT / "release" / f"{name}.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def wheels():
    return script("wheels")


def test_each_system_has_one_name_and_the_version_that_is_compiled_for(wheels):
    assert len({target.tag for target in wheels.TARGETS}) == len(wheels.TARGETS) == 7
    for target in wheels.TARGETS:
        *_, tags = parse_wheel_filename(f"sqznet-0.1.0-cp311-abi3-{target.tag}.whl")
        assert tags == {Tag("cp311", "abi3", target.tag)}
        processor = re.sub("arm64|aarch64", "aarch64", target.tag.replace("amd64", "x86_64"))
        assert processor.endswith(target.triple.split("-")[0])
        if version := re.search(r"(?:manylinux|macosx)_(\d+)_(\d+)", target.tag):
            assert target.triple.endswith(".".join(version.groups()))


def test_all_modules_in_c_are_built(wheels):
    assert {"squeezenet._engine", "squeezenet._workshop"} <= set(wheels.modules())


def test_an_archive_has_the_same_bytes_whenever_and_by_whomever_it_is_packed(wheels, tmp_path):
    made = []
    for order, time, mode in (("ab", 10, 0o664), ("ba", 20, 0o600)):
        path = tmp_path / f"{order}.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            for name in order:
                member = tarfile.TarInfo(name)
                member.size, member.mtime, member.mode, member.uname = 1, time + 0.5, mode, order
                archive.addfile(member, io.BytesIO(name.encode()))
        made.append(wheels.without_times(path, 1_000_000_000))
    assert made[0] == made[1]
    with tarfile.open(fileobj=io.BytesIO(made[0])) as archive:
        assert [(member.name, member.mode, member.mtime) for member in archive] == [
            ("a", 0o644, 1_000_000_000),
            ("b", 0o644, 1_000_000_000),
        ]


def test_a_wheel_without_its_modules_is_noticed(wheels, tmp_path):
    path = tmp_path / "empty.whl"
    with wheels.ZipFile(path, "w") as archive:
        archive.writestr("squeezenet/_engine.abi3.so", b"")
        archive.writestr("squeezenet/export/web/module/engine.wasm", b"")
    lacks = list(wheels.missing(path, ["squeezenet._engine", "squeezenet._workshop"]))
    assert lacks == ["squeezenet._workshop", "engine-scalar.wasm", "squeezenet.js"]


def test_the_engine_of_this_machine_gives_the_bits_that_wheels_are_checked_for():
    pytest.importorskip("squeezenet._engine")
    check = script("check")
    for path in check._engine.paths():
        assert check.digest("digits", path, 2) == check.DIGESTS["digits"]


def test_actions_of_the_workflow_are_pinned_and_only_publishing_may_write():
    text = (ROOT / ".github/workflows/release.yml").read_text(encoding="utf-8")
    used = re.findall(r"uses: (\S+)(.*)", text)
    assert used
    for action, comment in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action)
        assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment)
    assert "\npermissions: {}\n" in text
    assert text.count(": write") == 1
    assert "secrets." not in text


def test_the_workflow_publishes_what_all_its_checks_have_passed():
    text = (ROOT / ".github/workflows/release.yml").read_text(encoding="utf-8")
    jobs = pytest.importorskip("yaml").safe_load(text)["jobs"]
    assert set(jobs["publish"]["needs"]) == set(jobs) - {"build", "publish"}
    assert all(jobs[name]["needs"] == "build" for name in jobs["publish"]["needs"])
