"""The state file: what goes in comes out, and a corrupt file is moved away."""

from __future__ import annotations

import json
import logging
import os
import stat
from pathlib import Path

import pytest

from vconnect.errors import StateError
from vconnect.plugins.state_file import HostState, Identity, Record, RecordedProcess, StateFile
from vconnect.settings.paths import absolute_path

SOCKET = Path("/run/vconnect/host.sock")
RECORD = Record(
    version=1,
    socket=str(SOCKET),
    boot="b",
    host=Identity(10, 20),
    instances=(RecordedProcess(plugin="x", pid=11, start=21, generation=3),),
    desired={"x": "running", "y": "stopped"},
)


@pytest.fixture
def file(tmp_path: Path) -> StateFile:
    return StateFile(tmp_path / "private" / "state", SOCKET)


def test_what_is_written_is_read(file: StateFile) -> None:
    assert file.read() is None
    file.write(RECORD)
    assert file.read() == RECORD
    assert [path.name for path in file.directory.iterdir()] == [file.path.name]


def test_only_its_owner_can_read_it(file: StateFile) -> None:
    before = os.umask(0)
    try:
        file.write(RECORD)
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    for directory in (file.directory, file.directory.parent):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_each_socket_has_a_file_of_its_own(tmp_path: Path) -> None:
    sockets = ["/a/host.sock", "/b/host.sock", "/a/../a/host.sock", "~/host.sock"]
    paths = [StateFile(tmp_path, absolute_path(socket)).path for socket in sockets]
    assert len(set(paths)) == 3
    assert paths[0] == paths[2]
    assert StateFile(tmp_path, Path("~/host.sock").expanduser()).path == paths[3]


WHOLE = json.dumps({"version": 1, "socket": "s", "boot": "b", "host": {"pid": 1, "start": 2}})


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 4096,
        b"\xff\xfe garbage",
        WHOLE[:-1].encode(),
        b"[]",
        b"{}",
        b'{"version": "1"}',
        b'{"version": 1}',
        WHOLE.replace("2", '"two"').encode(),
        WHOLE.replace("}}", '}, "desired": {"x": "maybe"}}').encode(),
        WHOLE.replace("}}", '}, "instances": [{"plugin": "x"}]}').encode(),
        b"[" * 100_000,
    ],
)
def test_what_makes_no_sense_is_kept_aside(
    file: StateFile, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    file.directory.mkdir(parents=True)
    file.path.write_bytes(data)
    assert file.read() is None
    assert not file.path.exists()
    (aside,) = file.directory.iterdir()
    assert aside.name == file.path.name + ".broken"
    assert aside.read_bytes() == data
    (record,) = caplog.records
    assert (record.levelno, str(aside) in record.message) == (logging.ERROR, True)
    file.write(RECORD)
    assert file.read() == RECORD


@pytest.mark.parametrize("version", [2, 10**6])
def test_a_newer_one_is_refused_and_not_touched(file: StateFile, version: int) -> None:
    file.directory.mkdir(parents=True)
    data = json.dumps({"version": version, "host": "something else"})
    file.path.write_text(data)
    with pytest.raises(
        StateError, match=rf"format version {version}; this vconnect supports at most 1"
    ):
        file.read()
    assert file.path.read_text() == data


def test_unknown_fields_do_not_matter(file: StateFile) -> None:
    file.directory.mkdir(parents=True)
    file.path.write_text(WHOLE.replace("}}", '}, "more": 1}'))
    assert file.read() == Record(version=1, socket="s", boot="b", host=Identity(1, 2))


def test_what_cannot_be_read_is_left_alone(
    file: StateFile, caplog: pytest.LogCaptureFixture
) -> None:
    file.path.mkdir(parents=True)
    assert file.read() is None
    assert "cannot read state file" in caplog.text


def test_another_users_is_not_believed(
    file: StateFile, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file.write(RECORD)
    other = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)
    assert file.read() is None
    assert f"it belongs to user {other - 1}" in caplog.text


def test_a_write_that_fails_leaves_the_old_one(
    file: StateFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write(RECORD)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        file.write(Record(version=1, socket="", boot="", host=Identity(0, 0)))
    assert file.read() == RECORD
    assert [path.name for path in file.directory.iterdir()] == [file.path.name]


async def test_what_is_remembered_survives(tmp_path: Path) -> None:
    state = HostState(tmp_path, SOCKET)
    await state.open()
    state.want("x", "stopped")
    state.want("y", "stopped")
    state.want("y", "running")
    state.started("x", os.getpid(), 5)
    await state.flush()
    record = StateFile(tmp_path, SOCKET).read()
    assert record is not None
    assert [(i.plugin, i.pid, i.generation) for i in record.instances] == [("x", os.getpid(), 5)]
    assert record.host == Identity(os.getpid(), record.instances[0].start)
    state.ended(os.getpid())
    state.ended(os.getpid())
    await state.flush()
    later = HostState(tmp_path, SOCKET)
    await later.open()
    assert later.wants_stopped("x")
    assert not later.wants_stopped("y")
    assert not later.wants_stopped("z")
    record = StateFile(tmp_path, SOCKET).read()
    assert record is not None
    assert record.instances == ()


async def test_changes_of_one_moment_are_written_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Record] = []
    monkeypatch.setattr(StateFile, "write", lambda self, record: written.append(record))
    state = HostState(tmp_path, SOCKET)
    for number in range(100):
        state.want(f"p{number}", "stopped")
    state.want("p0", "stopped")
    await state.flush()
    assert [len(record.desired) for record in written] == [100]


async def test_nothing_is_written_for_nothing(tmp_path: Path) -> None:
    state = HostState(tmp_path / "state", SOCKET)
    await state.open()
    await state.flush()
    assert not (tmp_path / "state").exists()


async def test_a_disk_that_refuses_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    place = tmp_path / "state"
    place.write_text("in the way")
    state = HostState(place, SOCKET)
    for desired in ("stopped", "running", "stopped"):
        state.want("x", desired)
        await state.flush()
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    place.unlink()
    state.want("y", "stopped")
    await state.flush()
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.INFO]
    record = StateFile(place, SOCKET).read()
    assert record is not None
    assert record.desired == {"x": "stopped", "y": "stopped"}


async def test_who_came_first_and_what_was_asked_survives(tmp_path: Path) -> None:
    state = HostState(tmp_path, SOCKET)
    state.see(["b", "a"])
    state.see(["c", "b", "0"])  # a is gone
    state.want("b", "disabled")
    state.want("c", "stopped")
    await state.flush()
    later = HostState(tmp_path, SOCKET)
    await later.open()
    assert later.seen == ["b", "0", "c"]
    assert (later.is_disabled("b"), later.wants_stopped("b")) == (True, True)
    assert (later.is_disabled("c"), later.wants_stopped("c")) == (False, True)
    later.forget("b")
    assert not later.wants_stopped("b")
    later.see(["a", "b", "0", "c"])  # one that comes back is new
    assert later.seen == ["b", "0", "c", "a"]
