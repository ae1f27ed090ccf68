"""One cgroup, on directories and files that look like the kernel's."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest

from vconnect.processes.cgroup import Cgroup

NOBODY = 2**22 + 1  # no PID is that large


@pytest.fixture
def cgroup(tmp_path: Path) -> Cgroup:
    path = tmp_path / "example.1"
    path.mkdir()
    return Cgroup(path)


def holds(cgroup: Cgroup, **files: str) -> Cgroup:
    """Give it the kernel's files, such as ``procs`` for ``cgroup.procs``."""
    for name, text in files.items():
        (cgroup.path / f"cgroup.{name}").write_text(text)
    return cgroup


def out_of_memory(cgroup: Cgroup, events: str) -> bool:
    (cgroup.path / "memory.events").write_text(events)
    return Cgroup(cgroup.path, memory_bytes=1 << 20).was_out_of_memory()


def test_files_are_read_and_written(cgroup: Cgroup) -> None:
    holds(cgroup, freeze="0\n")
    cgroup.write("cgroup.freeze", "1")
    assert cgroup.read("cgroup.freeze").startswith("1")


def test_a_file_that_the_kernel_does_not_have_is_not_made(cgroup: Cgroup) -> None:
    path = cgroup.path / "memory.max"
    with pytest.raises(FileNotFoundError) as caught:
        cgroup.write("memory.max", "1")
    assert caught.value.filename == str(path)
    assert not path.exists()
    with pytest.raises(FileNotFoundError) as caught:
        cgroup.read("memory.max")
    assert caught.value.filename == str(path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_refused_write_names_the_file(cgroup: Cgroup) -> None:
    (cgroup.path / "pids.max").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"pids\.max") as caught:
        cgroup.write("pids.max", "1")
    assert caught.value.filename == str(cgroup.path / "pids.max")


def test_it_lists_who_is_in_it(cgroup: Cgroup) -> None:
    assert holds(cgroup, procs="12\n0\n345\n").pids() == [12, 0, 345]
    assert holds(cgroup, procs="").pids() == []


def test_one_that_is_gone_is_empty() -> None:
    gone = Cgroup(Path("/nowhere/example.1"), memory_bytes=1)
    assert (gone.pids(), list(gone.living()), gone.is_populated()) == ([], [], False)
    assert not gone.was_out_of_memory()
    gone.kill()
    gone.end()
    assert gone.remove()


def test_what_cannot_be_read_is_not_taken_for_empty(cgroup: Cgroup) -> None:
    for name in ("procs", "events"):
        (cgroup.path / f"cgroup.{name}").mkdir()
    with pytest.raises(IsADirectoryError):
        cgroup.pids()
    with pytest.raises(IsADirectoryError):
        cgroup.is_populated()
    with pytest.raises(IsADirectoryError):
        list(cgroup.living())
    cgroup.kill()  # comes again, and says nothing


@pytest.mark.parametrize(
    ("events", "populated"),
    [("populated 1\nfrozen 0\n", True), ("populated 0\nfrozen 1\n", False), ("", False)],
)
def test_it_knows_whether_anybody_is_there(cgroup: Cgroup, events: str, populated: bool) -> None:
    assert holds(cgroup, events=events).is_populated() is populated


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_the_living_are_those_in_it_and_below_it(cgroup: Cgroup) -> None:
    child = Cgroup(cgroup.path / "child")
    child.path.mkdir()
    holds(cgroup, events="populated 1\n", procs=f"0\n{NOBODY}\n")
    holds(child, procs=f"{os.getpid()}\n")
    assert [stat.pid for stat in cgroup.living()] == [os.getpid()]
    holds(cgroup, events="populated 0\n")
    assert list(cgroup.living()) == []


def test_killing_is_one_write(cgroup: Cgroup) -> None:
    # Who is in it would be this process, if the other way were taken too.
    holds(cgroup, kill="", events="populated 1\n", procs=f"{os.getpid()}\n")
    cgroup.kill()
    assert cgroup.read("cgroup.kill") == "1"


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_an_older_kernel_kills_one_by_one(cgroup: Cgroup, monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: killed.append((pid, number)))
    holds(cgroup, events="populated 1\n", procs=f"{os.getpid()}\n{NOBODY}\n")
    cgroup.kill()
    assert killed == [(os.getpid(), 9), (NOBODY, 9)]


@pytest.mark.parametrize(
    ("events", "is_out"),
    [
        ("low 0\nhigh 0\nmax 9\noom 1\noom_kill 2\noom_group_kill 1\n", True),
        ("max 9\noom 0\noom_kill 2\n", False),  # killed for the limit of somebody else
        ("max 9\noom 1\noom_kill 0\n", False),
        ("max 0\n", False),
        ("", False),
    ],
)
def test_out_of_memory_is_its_own_limit_and_a_kill(
    cgroup: Cgroup, events: str, is_out: bool
) -> None:
    assert out_of_memory(cgroup, events) is is_out


def test_without_a_limit_nothing_was_its_own(cgroup: Cgroup) -> None:
    (cgroup.path / "memory.events").write_text("oom 1\noom_kill 1\n")
    assert not cgroup.was_out_of_memory()


def test_it_is_removed_with_those_below_it(cgroup: Cgroup) -> None:
    (cgroup.path / "a" / "b").mkdir(parents=True)
    (cgroup.path / "c").mkdir()
    assert cgroup.remove()
    assert not cgroup.path.exists()


def test_one_that_is_busy_is_left(cgroup: Cgroup) -> None:
    holds(cgroup, procs="1\n")  # a directory with a file in it is as busy as a cgroup with somebody
    (cgroup.path / "empty").mkdir()
    assert not cgroup.remove()
    assert [path.name for path in cgroup.path.iterdir()] == ["cgroup.procs"]


def test_with_patience_it_is_removed_as_soon_as_the_last_one_has_left(cgroup: Cgroup) -> None:
    holds(cgroup, procs="1\n")
    leaving = threading.Timer(0.02, (cgroup.path / "cgroup.procs").unlink)
    leaving.start()
    try:
        assert cgroup.remove(10.0)
    finally:
        leaving.join()


def test_links_are_not_followed(cgroup: Cgroup, tmp_path: Path) -> None:
    (tmp_path / "elsewhere" / "inner").mkdir(parents=True)
    (cgroup.path / "link").symlink_to(tmp_path / "elsewhere")
    assert not cgroup.remove()
    assert (tmp_path / "elsewhere" / "inner").is_dir()


def test_its_directory_is_opened_for_nobody_else(cgroup: Cgroup) -> None:
    descriptor = cgroup.open()
    try:
        assert os.path.samestat(os.fstat(descriptor), cgroup.path.stat())
        assert not os.get_inheritable(descriptor)
    finally:
        os.close(descriptor)
