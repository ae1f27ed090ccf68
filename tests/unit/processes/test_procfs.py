"""What the kernel says of processes, asked about this one."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from vconnect.processes import procfs
from vconnect.processes.procfs import members, open_files, parse_stat, read_stat

NOBODY = 2**22 + 1  # no PID is that large
on_linux = pytest.mark.skipif(not procfs.has_proc(), reason="needs /proc")


@on_linux
def test_a_process_is_described() -> None:
    stat = procfs.read_stat(os.getpid())
    assert stat is not None
    assert (stat.pid, stat.parent) == (os.getpid(), os.getppid())
    assert (stat.group, stat.session) == (os.getpgrp(), os.getsid(0))
    assert stat.is_alive
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


REST = b" S 1 7 9 0 -1 4194560 10 0 0 0 250 50 0 0 20 0 3 0 123456 1000 11 1844\n"


@on_linux
@pytest.mark.parametrize(
    "command", [b"bash", b"a b", b"a) S 1 (b", b"((", b"))", b"", b"x\ny) Z 1 1 1", b"\xff\x00"]
)
def test_a_name_cannot_disturb_the_fields(command: bytes) -> None:
    stat = parse_stat(b"4242 (" + command + b")" + REST)
    assert (stat.pid, stat.state, stat.group, stat.session) == (4242, "S", 7, 9)
    assert (stat.threads, stat.start) == (3, 123456)
    assert stat.cpu_s == 300 / os.sysconf("SC_CLK_TCK")
    assert stat.rss_bytes == 11 * os.sysconf("SC_PAGE_SIZE")


@on_linux
@pytest.mark.parametrize(
    ("state", "is_alive"), [("R", True), ("T", True), ("t", True), ("Z", False), ("X", False)]
)
def test_zombies_are_not_alive(state: str, is_alive: bool) -> None:
    line = b"1 (x)" + REST.replace(b" S ", f" {state} ".encode(), 1)
    assert parse_stat(line).is_alive is is_alive


@on_linux
def test_we_are_a_member_of_our_own_session() -> None:
    found = {stat.pid: stat for stat in members((os.getsid(0),))}
    assert found[os.getpid()].rss_bytes > 0
    assert found[os.getpid()].group == os.getpgid(0)


@on_linux
def test_who_is_gone_is_not_there() -> None:
    gone = 1 << 22  # the kernel's largest PID and one
    assert read_stat(gone) is None
    assert open_files(gone) is None


@on_linux
def test_descriptors_are_counted() -> None:
    before = open_files(os.getpid())
    assert before is not None
    read, write = os.pipe()
    try:
        assert open_files(os.getpid()) == before + 2
    finally:
        os.close(read)
        os.close(write)
