"""`/proc/PID/stat` lines, and the numbers made of them."""

from __future__ import annotations

import os
import sys

import pytest

from vconnect.processes.sessions import members, open_files, parse_stat, read_stat

REST = b" S 1 7 9 0 -1 4194560 10 0 0 0 250 50 0 0 20 0 3 0 123456 1000 11 1844\n"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")


@pytest.mark.parametrize(
    "command", [b"bash", b"a b", b"a) S 1 (b", b"((", b"))", b"", b"x\ny) Z 1 1 1", b"\xff\x00"]
)
def test_a_name_cannot_disturb_the_fields(command: bytes) -> None:
    stat = parse_stat(b"4242 (" + command + b")" + REST)
    assert (stat.pid, stat.state, stat.group, stat.session) == (4242, "S", 7, 9)
    assert (stat.threads, stat.start_ticks) == (3, 123456)
    assert stat.cpu_s == 300 / os.sysconf("SC_CLK_TCK")
    assert stat.rss_bytes == 11 * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    ("state", "is_alive"), [("R", True), ("T", True), ("t", True), ("Z", False), ("X", False)]
)
def test_zombies_are_not_alive(state: str, is_alive: bool) -> None:
    line = b"1 (x)" + REST.replace(b" S ", f" {state} ".encode(), 1)
    assert parse_stat(line).is_alive is is_alive


def test_we_are_a_member_of_our_own_session() -> None:
    found = {stat.pid: stat for stat in members((os.getsid(0),))}
    assert found[os.getpid()].rss_bytes > 0
    assert found[os.getpid()].group == os.getpgid(0)


def test_who_is_gone_is_not_there() -> None:
    gone = 1 << 22  # the kernel's largest PID and one
    assert read_stat(gone) is None
    assert open_files(gone) is None


def test_descriptors_are_counted() -> None:
    before = open_files(os.getpid())
    assert before is not None
    read, write = os.pipe()
    try:
        assert open_files(os.getpid()) == before + 2
    finally:
        os.close(read)
        os.close(write)
