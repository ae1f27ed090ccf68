"""What the kernel says of processes, asked about this one."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from vconnect.processes import procfs

NOBODY = 2**22 + 1  # no PID is that large
on_linux = pytest.mark.skipif(not procfs.HAS_PROC, reason="needs /proc")


@on_linux
def test_a_process_is_described() -> None:
    stat = procfs.read_stat(os.getpid())
    assert stat is not None
    assert (stat.pid, stat.parent) == (os.getpid(), os.getppid())
    assert (stat.group, stat.session) == (os.getpgrp(), os.getsid(0))
    assert not stat.is_gone
    assert stat.pid in [other.pid for other in procfs.processes()]


@pytest.mark.skipif(sys.platform not in ("linux", "darwin"), reason="not known here")
def test_a_start_time_tells_processes_apart() -> None:
    assert procfs.start_time(os.getpid()) == procfs.start_time(os.getpid()) is not None
    assert procfs.start_time(os.getpid()) != procfs.start_time(1)
    assert procfs.start_time(NOBODY) is None


@on_linux
def test_a_signal_goes_to_the_one_that_was_seen() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: heard.append(number))
    try:
        stat = procfs.read_stat(os.getpid())
        assert stat is not None
        procfs.send(stat._replace(start=stat.start - 1), signal.SIGUSR1)
        assert heard == []
        procfs.send(stat, signal.SIGUSR1)
        assert heard == [signal.SIGUSR1]
    finally:
        signal.signal(signal.SIGUSR1, before)
    procfs.send(stat._replace(pid=NOBODY), signal.SIGUSR1)


@on_linux
@pytest.mark.parametrize("lacking", [AttributeError, OSError(38, "ENOSYS")])
def test_a_signal_without_a_pidfd(monkeypatch: pytest.MonkeyPatch, lacking: Exception) -> None:
    def none(pid: int) -> int:
        raise lacking

    monkeypatch.setattr(os, "pidfd_open", none)
    test_a_signal_goes_to_the_one_that_was_seen()


@on_linux
def test_a_boot_has_a_name() -> None:
    assert procfs.boot_id() == procfs.boot_id() != ""


@on_linux
def test_the_environment_that_a_process_began_with() -> None:
    name, value = next(iter(os.environ.items()))
    entry = f"{name}={value}".encode()
    assert isinstance(procfs.environment_holds(os.getpid(), entry), bool)
    assert not procfs.environment_holds(os.getpid(), b"NO_SUCH_VARIABLE=1")
    assert not procfs.environment_holds(NOBODY, entry)
