"""One plugin's directory: switched in one step, and nothing deleted that somebody needs."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from tests.support.store_kit import current, install, plain, waiting

from vconnect.store.home import CARRIED, PluginHome, acquire
from vconnect.store.layout import InstalledVersion
from vconnect.store.record import Record, Result
from vconnect.store.store import PluginStore


@pytest.fixture
def store(tmp_path: Path) -> PluginStore:
    return PluginStore(tmp_path / "plugins")


@pytest.fixture
def home(store: PluginStore) -> PluginHome:
    return store.home("example")


def note(home: PluginHome, version: InstalledVersion, result: Result) -> None:
    home.write(home.record().with_entry(version, "start", result))


def run(store: PluginStore, *versions: str) -> list[InstalledVersion]:
    """Install versions, each of which is ready and becomes current."""
    home, made = store.home("example"), []
    for version in versions:
        made.append(install(store, version))
        home.switch(made[-1])
        note(home, made[-1], "ready")
        home.set_next(None)
    return made


def names(home: PluginHome) -> list[str]:
    return [version.version for version in home.all_versions()]


def test_a_switch_is_one_step(store: PluginStore, home: PluginHome) -> None:
    first, second = install(store, "1"), install(store, "2")
    (home.path / "current.new").symlink_to("left by a killed process")
    home.switch(second)
    assert home.current() == second
    assert str((home.path / "current").readlink()) == f"versions/{second.directory.name}"
    home.switch(first)
    assert home.current() == first
    assert not os.path.lexists(home.path / "current.new")


def test_a_switch_that_the_disk_refuses_changes_nothing(
    store: PluginStore, home: PluginHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = install(store, "1"), install(store, "2")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", full)
        with pytest.raises(OSError, match="No space left"):
            home.switch(second)
    assert home.current() == first
    assert not os.path.lexists(home.path / "current.new")


def test_what_fails_after_the_switch_is_a_warning(
    store: PluginStore,
    home: PluginHome,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    install(store, "1")
    second = install(store, "2")

    def broken(_: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("vconnect.store.home.sync", broken)
    home.switch(second)
    assert home.current() == second
    assert "cannot be synced: Input/output error" in caplog.text


def test_which_versions_are_kept(store: PluginStore, home: PluginHome) -> None:
    run(store, "1", "2", "3")
    install(store, "4")
    home.collect(2)
    assert names(home) == ["2", "3", "4"]  # the one before, the current one, and the next
    home.set_next(None)
    home.collect(1)
    assert names(home) == ["3"]


def test_the_one_before_is_that_of_the_history(store: PluginStore, home: PluginHome) -> None:
    first, _, _ = run(store, "1", "2", "3")
    home.switch(first)  # an operator went back
    note(home, first, "ready")
    home.collect(2)
    assert names(home) == ["1", "3"]


def test_a_version_that_failed_last_stays_until_something_else_happens(
    store: PluginStore, home: PluginHome
) -> None:
    run(store, "1", "2")
    failed = install(store, "3")
    home.set_next(None)
    note(home, failed, "failed")
    home.collect(2)
    assert names(home) == ["1", "2", "3"]
    run(store, "4")
    home.collect(2)
    assert names(home) == ["2", "4"]


def test_a_lost_history_costs_no_version(store: PluginStore, home: PluginHome) -> None:
    run(store, "1", "2", "3")
    home.write(Record())
    home.collect(2)
    assert names(home) == ["1", "2", "3"]


def test_without_a_current_version_nothing_is_deleted(store: PluginStore, home: PluginHome) -> None:
    run(store, "1", "2", "3")
    (home.path / "current").unlink()
    home.collect(1)
    assert names(home) == ["1", "2", "3"]


def test_what_a_process_runs_is_kept(store: PluginStore, home: PluginHome) -> None:
    first, _ = run(store, "1", "2")
    held = acquire(first)
    copy = os.dup(held)
    os.close(held)
    home.collect(1)
    assert names(home) == ["1", "2"]
    os.close(copy)
    home.collect(1)
    assert names(home) == ["2"]


def test_several_may_run_one_version_and_none_that_is_being_deleted(store: PluginStore) -> None:
    version = install(store)
    descriptors = [acquire(version), acquire(version)]
    for descriptor in descriptors:
        assert descriptor > 2
        os.close(descriptor)
    deleting = os.open(version.directory / ".in-use", os.O_RDONLY)
    try:
        fcntl.flock(deleting, fcntl.LOCK_EX)
        with pytest.raises(FileNotFoundError, match="is being removed"):
            acquire(version)
    finally:
        os.close(deleting)
    version.directory.rename(version.directory.with_name(".del-x"))
    with pytest.raises(FileNotFoundError):
        acquire(version)


def test_a_file_system_without_locks_keeps_nothing_from_starting(
    store: PluginStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = install(store)

    def fails(code: int) -> Callable[..., None]:
        def flock(*_: object) -> None:
            raise OSError(code, os.strerror(code))

        return flock

    monkeypatch.setattr("vconnect.durable.fcntl.flock", fails(errno.ENOLCK))
    os.close(acquire(version))
    monkeypatch.setattr("vconnect.durable.fcntl.flock", fails(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        acquire(version)


def test_the_lock_of_a_version_that_was_moved_away_is_none(
    store: PluginStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = install(store)
    lock = fcntl.flock

    def late(descriptor: int, operation: int) -> None:
        version.directory.rename(version.directory.with_name(".del-x"))
        lock(descriptor, operation)

    monkeypatch.setattr("vconnect.durable.fcntl.flock", late)
    with pytest.raises(FileNotFoundError, match="is being removed"):
        acquire(version)


def test_what_a_plugin_wrote_is_not_deleted_before_it_is_carried(
    store: PluginStore, home: PluginHome
) -> None:
    plain(store, version="0.9")
    run(store, "1", "2", "3")
    home.collect(1)
    assert names(home) == ["0.9", "3"]
    (legacy,) = [version for version in home.all_versions() if version.is_legacy]
    (legacy.directory / CARRIED).touch()
    home.collect(1)
    assert names(home) == ["3"]


def test_a_half_deleted_version_is_deleted_at_the_next_change(
    store: PluginStore, home: PluginHome
) -> None:
    first = install(store, "1")
    doomed = first.directory.with_name(".del-0+x")
    doomed.mkdir()
    (doomed / "pkg").mkdir(mode=0o555)
    install(store, "2")
    assert not doomed.exists()
    assert (current(store), waiting(store)) == ("1", "2")


def test_the_next_version_must_be_there(store: PluginStore, home: PluginHome) -> None:
    install(store, "1")
    for name in ("9+0", "", "../../x+y", "."):
        home.write(msgspec.structs.replace(home.record(), next=name))
        assert home.next_version() is None
