"""What an older vconnect kept beside the plugins belongs to the first host of the new one."""

from __future__ import annotations

import errno
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.support.lab import ECHO, Lab, until
from tests.support.package_kit import tree

from vconnect.errors import StateError
from vconnect.host.takeover import Takeover
from vconnect.plugins.state_file import HostState, StateFile
from vconnect.processes import directories
from vconnect.processes.procfs import start_time
from vconnect.settings.model import Settings


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A plugin_dir as an older vconnect leaves it."""
    private = tmp_path / "plugins" / ".vconnect"
    (private / "data" / "example" / "deep").mkdir(parents=True)
    (private / "data" / "example" / "deep" / "rows").write_bytes(b"rows")
    (private / "data" / "other").mkdir()
    (private / "state" / "crashes").mkdir(parents=True)
    (private / "state" / "crashes" / "example.json").write_text("[]")
    return tmp_path


def settings(place: Path, socket: str = "host.sock", **options: Any) -> Settings:
    return Settings(plugin_dir=str(place / "plugins"), socket_path=str(place / socket), **options)


def old_state(place: Path, socket: str) -> Path:
    return StateFile(place / "plugins" / ".vconnect" / "state", place / socket).path


def run(said: Settings) -> Path:
    takeover = Takeover(said)
    takeover.take_state()
    takeover.take_data()
    return said.state_directory


def test_the_first_host_takes_everything(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    old_state(place, "host.sock").write_text("{}")
    state = run(settings(place))
    assert tree(state) == {
        "crashes": None,
        "crashes/example.json": b"[]",
        "data": None,
        "data/example": None,
        "data/example/deep": None,
        "data/example/deep/rows": b"rows",
        "data/other": None,
        old_state(place, "host.sock").name: b"{}",
        "socket": f"{place / 'host.sock'}\n".encode(),
    }
    assert sorted(path.name for path in state.parents[1].iterdir()) == ["hosts", "moved"]
    assert "took over the data of example, other" in caplog.text
    caplog.clear()
    assert run(settings(place)) == state
    assert caplog.text == ""


def test_a_second_host_finds_who_has_it(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    old_state(place, "second.sock").write_text("{}")
    run(settings(place))
    second = run(settings(place, "second.sock"))
    assert not (second / "data").exists()
    # What is its own it still gets.
    assert (second / old_state(place, "second.sock").name).read_text() == "{}"
    assert f"taken over by the host of {place / 'host.sock'}" in caplog.text
    assert not (place / "plugins" / ".vconnect" / "state").exists()


def test_data_that_is_there_already_stays(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    mine = settings(place).state_directory / "data" / "example"
    mine.mkdir(parents=True)
    state = run(settings(place))
    assert list(mine.iterdir()) == []
    assert "the data of example stays, because there is some in" in caplog.text
    assert (state / "data" / "other").is_dir()
    assert (place / "plugins/.vconnect/data/example/deep/rows").read_bytes() == b"rows"


def test_a_state_dir_of_ones_own(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    said = settings(place, state_dir=str(place / "state"))
    assert run(said) == place / "state"
    assert (place / "state/data/example/deep/rows").read_bytes() == b"rows"
    caplog.set_level(logging.INFO)
    run(settings(place, "second.sock", state_dir=str(place / "state")))
    assert f"was that of the host of {place / 'host.sock'} until now" in caplog.text


async def test_the_state_dir_of_a_host_that_runs_is_refused(lab: Lab) -> None:
    state = lab.directory / "state"
    other = lab.socket.with_name("other.sock")
    lab.plugin("echo", ECHO)
    async with lab.manager(state_dir=state) as runtime:
        await runtime.start_all()
        await until(lambda: list(state.glob("*.json")))
        with pytest.raises(StateError, match="give this host a state_dir of its own"):
            async with lab.manager(state_dir=state, socket_path=other):
                pass
        assert runtime.summary("echo").status == "Running"
    (record,) = state.glob("*.json")
    record.write_text("{")  # what cannot be read says nothing
    async with lab.manager(state_dir=state, socket_path=other):
        assert (state / "socket").read_text() == f"{other}\n"


def test_todays_default_written_down_as_state_dir(place: Path) -> None:
    private = place / "plugins" / ".vconnect"
    run(settings(place, state_dir=str(private / "state")))
    assert (private / "state/crashes/example.json").exists()
    assert (private / "state/data/example/deep/rows").exists()
    assert (private / "state/socket").exists()


def test_another_file_system(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = Path.rename

    def across(self: Path, target: Path) -> Path:
        if "hosts" in target.parts and "hosts" not in self.parts:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return rename(self, target)

    (place / "plugins/.vconnect/data/example/link").symlink_to("deep/rows")
    old_state(place, "host.sock").write_text("{}")
    monkeypatch.setattr(Path, "rename", across)
    state = run(settings(place))
    assert (state / "data/example/deep/rows").read_bytes() == b"rows"
    assert (state / "data/example/link").is_symlink()
    assert (state / old_state(place, "host.sock").name).read_text() == "{}"
    assert not (place / "plugins/.vconnect/data").exists()


def test_a_host_that_still_uses_the_data_keeps_it(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        mark = f"{child.pid}.{start_time(child.pid)}-abc"
        (place / "plugins/.vconnect/run" / mark).mkdir(parents=True)
        assert directories.older_hosts(place / "plugins") == {child.pid}
        state = run(settings(place))
        assert not (state / "data").exists()
        assert "stays as it is while a host of an older vconnect uses it" in caplog.text
    finally:
        child.communicate(b"\n")
    assert (run(settings(place)) / "data/example").is_dir()


def test_a_disk_that_refuses_is_a_warning(
    place: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "mkdir", refuse)
    run(settings(place))
    assert "cannot take over the state in" in caplog.text
    assert "cannot take over the data in" in caplog.text
    assert (place / "plugins/.vconnect/data/example/deep/rows").exists()


async def test_the_state_is_taken_before_it_is_read(place: Path) -> None:
    said = settings(place)
    record = {
        "version": 1,
        "socket": said.socket_path,
        "boot": "",
        "host": {"pid": 1, "start": 1},
        "desired": {"example": "stopped"},
    }
    old_state(place, "host.sock").write_text(json.dumps(record))
    state = HostState(said.state_directory, Path(said.socket_path))
    await Takeover(said).run(state)
    assert state.wants_stopped("example")
    await state.flush()
