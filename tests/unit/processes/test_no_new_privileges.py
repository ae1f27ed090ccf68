"""The thread that gives up privileges: it alone, and what it starts."""

from __future__ import annotations

import ctypes
import errno
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from vconnect.processes.no_new_privileges import without_new_privileges

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="prctl(2) is Linux's")


def flag(path: str = "/proc/thread-self/status") -> str:
    """What the kernel says of the thread's ``no_new_privs``."""
    lines = Path(path).read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("NoNewPrivs"))
    return line.split()[1]


def test_the_function_has_none_and_the_caller_keeps_what_it_had() -> None:
    before = flag()
    assert without_new_privileges(flag) == "1"
    assert flag() == before


def test_what_it_starts_has_none_either() -> None:
    command = ["cat", "/proc/self/status"]
    started = without_new_privileges(lambda: subprocess.run(command, capture_output=True))
    assert b"NoNewPrivs:\t1" in started.stdout


def test_it_is_another_thread_which_is_gone_afterwards() -> None:
    thread = without_new_privileges(threading.current_thread)
    assert thread is not threading.current_thread()
    assert not thread.is_alive()


@pytest.mark.parametrize("result", [None, 0, "", [1]])
def test_it_returns_what_the_function_returns(result: object) -> None:
    assert without_new_privileges(lambda: result) is result


@pytest.mark.parametrize("error", [FileNotFoundError(2, "gone", "/x"), SystemExit(3), KeyError()])
def test_it_raises_what_the_function_raises(error: BaseException) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        without_new_privileges(fail)
    assert caught.value is error


def test_a_kernel_that_refuses_keeps_the_function_from_being_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Kernel:
        def prctl(self, *_: int) -> int:
            ctypes.set_errno(errno.EPERM)
            return -1

    called: list[bool] = []
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: Kernel())
    with pytest.raises(PermissionError):
        without_new_privileges(lambda: called.append(True))
    assert called == []


def test_a_machine_out_of_threads_is_a_shortage(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(BlockingIOError) as caught:
        without_new_privileges(flag)
    assert caught.value.errno == errno.EAGAIN
