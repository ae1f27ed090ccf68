"""Locks between processes: waited for, cancelled, and said whose they are."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from vconnect.durable import try_lock
from vconnect.errors import InstallError
from vconnect.store import locks
from vconnect.store.locks import locked


def test_one_at_a_time(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    with locked(file):
        descriptor = os.open(file, os.O_RDWR)
        try:
            assert not try_lock(descriptor)
            assert not try_lock(descriptor, shared=True)
        finally:
            os.close(descriptor)
    with locked(file):
        pass


def test_shared_locks_keep_out_only_an_exclusive_one(tmp_path: Path) -> None:
    descriptors = [os.open(tmp_path / "lock", os.O_RDONLY | os.O_CREAT) for _ in range(3)]
    try:
        assert try_lock(descriptors[0], shared=True)
        assert try_lock(descriptors[1], shared=True)
        assert not try_lock(descriptors[2])
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def test_whoever_waits_is_told_for_whom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_TIMEOUT_S", 0.05)
    file = tmp_path / "example.lock"
    with locked(file, plugin="example", holder="the installation of 2\n/run/host.sock"):
        assert json.loads(file.read_text())["pid"] == os.getpid()
        with pytest.raises(InstallError) as caught, locked(file, plugin="example"):
            pass
    assert str(caught.value).startswith(
        f"example: the installation of 2 by the host of /run/host.sock (PID {os.getpid()}) is "
        "under way for "
    )


@pytest.mark.parametrize("text", ["", "{", '{"pid": 1}'])
def test_a_holder_that_has_not_signed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(locks, "_TIMEOUT_S", 0.05)
    file = tmp_path / "lock"
    with locked(file):
        file.write_text(text)
        with pytest.raises(InstallError, match="fuser"), locked(file):
            pass


def test_a_dead_process_is_not_said_to_hold_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "_TIMEOUT_S", 0.05)
    file = tmp_path / "lock"
    with locked(file, holder="a change"):
        holder = json.loads(file.read_text())
        file.write_text(json.dumps({**holder, "start": 1}))
        with pytest.raises(InstallError, match="another process"), locked(file):
            pass


def test_waiting_can_be_cancelled(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    file = tmp_path / "lock"
    with locked(file), pytest.raises(InstallError, match="was cancelled"), locked(file, stop):
        pass


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    (tmp_path / "lock").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match="symbolic links"), locked(tmp_path / "lock"):
        pass
