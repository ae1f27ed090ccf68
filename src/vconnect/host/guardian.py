"""The guardian: a small parent of the host, which leaves nothing alive when the host has ended.

``vconnect serve`` forks before it loads anything heavy and before it has any thread. The child
becomes the host. The parent stays behind with one thread, no event loop and nothing to do but to
forward signals and to wait. On Linux it is a *child subreaper*: whoever loses their parent below
it becomes its child, also those that have left every session and process group of their plugin.
So when the host has ended, in whatever way, all that it ever started is below the guardian, and
can be found and killed without asking anybody.

A pipe ties the two together. The guardian announces on it which signals it forwards, for a signal
that was sent to both must not count twice; and its end tells the host that the guardian is gone.

Where there is no subreaper (macOS), the guardian ends the process groups that the host has
recorded in its state file.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, NoReturn

from vconnect.processes.procfs import HAS_PROC, ProcessStat, processes, send

if TYPE_CHECKING:
    import asyncio  # what stays behind as the guardian never loads it

Mode = Literal["auto", "on", "off"]

_PR_SET_NAME = 15
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_NAME = b"vconnect-guard"  # 15 bytes are the most

# What ends or stops a process by default and can be caught; the host decides what it means.
_FORWARDED = (
    *(signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2),
    *(signal.SIGTSTP, signal.SIGCONT),
)
# For a process that does not die of SIGKILL: it hangs in the kernel, and may do so for ever.
_PATIENCE_S = 10.0
_POLL_S = 0.005
_STDERR = 2
# A signal to everybody (a service manager's, `killall`) arrives twice; nobody types this fast
# and means it twice, and no machine is so busy that the second one comes later.
_ECHO_S = 1.0


class Lifeline:
    """The host's end of the pipe to its guardian.

    Attributes:
        guardian_pid: Who holds the other end.
    """

    def __init__(self, descriptor: int, guardian_pid: int) -> None:
        self.guardian_pid = guardian_pid
        self._descriptor = descriptor
        self._loop: asyncio.AbstractEventLoop | None = None
        self._on_loss: Callable[[], None] | None = None
        self._announced: list[int] = []
        self._single: dict[tuple[int, bool], float] = {}

    def watch(self, loop: asyncio.AbstractEventLoop, on_loss: Callable[[], None]) -> None:
        """Call ``on_loss`` once when the guardian has died."""
        self._loop, self._on_loss = loop, on_loss
        loop.add_reader(self._descriptor, self._read)

    def close(self) -> None:
        """Stop watching."""
        if self._loop is not None:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._loop = None

    def is_echo(self, number: int) -> bool:
        """Tell whether a signal was heard already, on the other of the two ways to this process.

        To be asked once for each signal: from the guardian's forwarding and from others directly.
        """
        if self._loop is not None:
            self._read()
        forwarded = number in self._announced
        if forwarded:
            self._announced.remove(number)
        now = time.monotonic()
        twin = self._single.pop((number, not forwarded), None)
        if twin is not None and now - twin < _ECHO_S:
            return True
        self._single[number, forwarded] = now
        return False

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, 4096)
        except BlockingIOError:
            return
        self._announced += data
        if not data:
            self.close()
            # If this process is suspended, the kernel wakes it with a SIGHUP, for the same reason.
            self._single[signal.SIGHUP, True] = time.monotonic()
            if self._on_loss is not None:
                self._on_loss()


def is_wanted(mode: Mode, environ: Mapping[str, str], pid: int) -> bool:
    """Tell whether the process ``pid`` shall have a guardian.

    By itself it needs none as the main process of a systemd service: at its end systemd ends the
    whole control group.
    """
    if mode == "auto":
        is_service = "INVOCATION_ID" in environ and environ.get("SYSTEMD_EXEC_PID") == str(pid)
        return not is_service
    return mode == "on"


def guarded(leftovers: Callable[[], None]) -> Lifeline:
    """Fork: return in the child, which is the host; the parent guards it and never returns.

    The host leads a process group of its own, so that what a terminal sends to its foreground
    reaches it once, through the guardian. No thread may exist yet.

    Args:
        leftovers: Where there is no subreaper: ends what the host has recorded.

    Raises:
        OSError: There can be no further process, or no pipe.
    """
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    guardian = os.getpid()
    spared = {(stat.pid, stat.start) for stat in _children(guardian)} if HAS_PROC else set()
    is_reaper = _become_reaper()
    forwarded = _forwarded()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*forwarded, signal.SIGCHLD})
    host = os.fork()
    if host:
        os.close(reading)
        _guard(_Guardian(host, writing, forwarded), None if is_reaper else leftovers, spared)
    os.close(writing)
    os.setpgid(0, 0)
    # The terminal counts this group as a background one; what it logs must not stop it.
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    # Whoever is stopped cannot notice that the guardian has died. The kernel wakes the groups that
    # an end leaves alone, but not one whose threads are just about to stop.
    _prctl(_PR_SET_PDEATHSIG, signal.SIGCONT)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    _pass_on(guardian)
    return Lifeline(reading, guardian)


def _pass_on(guardian: int) -> None:
    """Let what systemd has addressed to the process that it started be the host's."""
    for name in ("LISTEN_PID", "WATCHDOG_PID"):
        if os.environ.get(name) == str(guardian):
            os.environ[name] = str(os.getpid())


def _guard(
    guardian: _Guardian, leftovers: Callable[[], None] | None, spared: set[tuple[int, int]]
) -> NoReturn:
    """Be the guardian, and exit as the host did; nothing of the command line runs on here."""
    code = 1
    try:
        code = guardian.run()
        if leftovers is None:
            _end_descendants(spared)
        else:
            leftovers()
    except BaseException:  # noqa: BLE001 - the end of this process, which must not be the host's code
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


class _Guardian:
    """Forwards signals to the host and waits for its end."""

    def __init__(self, host: int, lifeline: int, forwarded: set[signal.Signals]) -> None:
        self._host = host
        self._lifeline = lifeline
        self._forwarded = forwarded

    def run(self) -> int:
        """Return what the host's end makes the exit code."""
        # A signal that is ignored by default is only kept for sigwait() if it has a handler.
        signal.signal(signal.SIGCHLD, lambda *_: None)
        with suppress(OSError):
            os.setpgid(self._host, self._host)  # whoever comes first, it or its child
        _rename()
        _close_all_but(self._lifeline)
        while (code := self._reap()) is None:
            number = signal.sigwait({*self._forwarded, signal.SIGCHLD})
            if number != signal.SIGCHLD:
                self._forward(signal.Signals(number))
        os.close(self._lifeline)
        return code

    def _reap(self) -> int | None:
        """Bury whoever has ended; the host's exit code if it is among them."""
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == self._host:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code
            if pid == 0:
                return None

    def _forward(self, number: signal.Signals) -> None:
        with suppress(OSError):  # the pipe is full, or the host has closed it
            os.write(self._lifeline, bytes([number]))
        os.kill(self._host, number)  # not yet waited for, so nobody else has its number
        if number is signal.SIGTSTP:
            os.kill(os.getpid(), signal.SIGSTOP)


def _forwarded() -> set[signal.Signals]:
    hangup = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN  # ignored under nohup
    return {*_FORWARDED, signal.SIGHUP} if hangup else {*_FORWARDED}


def _become_reaper() -> bool:
    """Have orphans below this process become its children; false where that cannot be had."""
    return _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _rename() -> None:
    """Be told apart from the host in ``ps`` and ``top``."""
    import ctypes

    _prctl(_PR_SET_NAME, ctypes.c_char_p(_NAME))


def _prctl(option: int, argument: object) -> bool:
    if not HAS_PROC:
        return False
    try:
        import ctypes

        return bool(ctypes.CDLL(None).prctl(option, argument, 0, 0, 0) == 0)
    except (ImportError, OSError, AttributeError):  # a Python or a C library without it
        return False


def _close_all_but(kept: int) -> None:
    """Close what was inherited; a socket or a lock must not live on here."""
    names = []
    with suppress(OSError):  # no such directory here: they stay open
        names = os.listdir("/dev/fd")  # noqa: PTH208
    for descriptor in map(int, names):
        if descriptor > _STDERR and descriptor != kept:
            with suppress(OSError):  # the one of that listing
                os.close(descriptor)


# The end of everybody else.


def _end_descendants(spared: set[tuple[int, int]]) -> None:
    """Kill and bury until nobody is left below this process.

    Args:
        spared: Children that it had before it was a guardian, by PID and start time.
    """
    until = time.monotonic() + _PATIENCE_S
    while victims := _descendants(spared):
        for stat in victims:
            send(stat, signal.SIGKILL)
        _record_end()
        if time.monotonic() > until:
            pids = ", ".join(str(stat.pid) for stat in victims)
            print(f"vconnect: these do not die of SIGKILL: {pids}", file=sys.stderr)
            return
        if any(stat.is_alive for stat in victims):
            time.sleep(_POLL_S)


def _descendants(spared: set[tuple[int, int]]) -> list[ProcessStat]:
    """List everybody below this process, the dead ones that wait for it included."""
    below: dict[int, list[ProcessStat]] = {}
    for stat in processes():
        if (stat.pid, stat.start) not in spared:
            below.setdefault(stat.parent, []).append(stat)
    found: list[ProcessStat] = []
    parents = [os.getpid()]
    while parents:
        children = below.get(parents.pop(), [])
        found += children
        parents += [child.pid for child in children]
    return found


def _children(pid: int) -> list[ProcessStat]:
    return [stat for stat in processes() if stat.parent == pid]


def _record_end() -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
