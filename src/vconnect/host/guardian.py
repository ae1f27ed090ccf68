"""The guardian: a small parent process of the host, which leaves nothing alive when it ends."""

# The idea: a killed host cannot clean up, so another process has to, and it must not depend on
# anything that the host knew.
#
# `vconnect serve` forks before it imports anything heavy and before it has any thread. The child
# becomes the host. The parent stays behind with one thread and no event loop; it only forwards
# signals and waits. On Linux it is a child subreaper: a process below it whose parent dies becomes
# its child, even if it has left its plugin's session and process group. So when the host has ended,
# in whatever way, everything that it ever started is a descendant of the guardian, and is found by
# a walk over /proc.
#
# A pipe connects the two. Its end of file tells the host that the guardian is dead. The guardian
# also announces each signal on it before forwarding it: `killall` and service managers signal both
# processes, and the host must count that once.
#
# Without a subreaper (macOS), the guardian ends the process groups recorded in the state file.

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, NoReturn

from vconnect.processes.procfs import ProcessStat, has_proc, processes, send

if TYPE_CHECKING:
    import asyncio  # never loaded in the guardian, which must stay small

Mode = Literal["auto", "on", "off"]

# From <linux/prctl.h>.
_PR_SET_NAME = 15
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_NAME = b"vconnect-guard"  # the kernel keeps at most 15 bytes

# Signals that end or stop a process by default and can be caught. The host decides what they mean.
_FORWARDED = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGTSTP,
    signal.SIGCONT,
)
# A process that survives SIGKILL for this long hangs in the kernel, perhaps forever. Seconds.
_PATIENCE_S = 10.0
# How much of that is spared if all that is left belongs to other users. Seconds.
_SPARED_S = 9.0
# The end of a grandchild is not announced, so the guardian looks again after this long.
_POLL_S = 0.005
_STDERR = 2
# A signal to both processes arrives twice within this time. A human who repeats a signal takes
# about as long, and no machine is so busy that the second arrival is later. Seconds.
_ECHO_S = 1.0


class Lifeline:
    """The host's end of the pipe to its guardian.

    Attributes:
        guardian_pid: The guardian's PID.
    """

    def __init__(self, descriptor: int, guardian_pid: int) -> None:
        self.guardian_pid = guardian_pid
        self._descriptor = descriptor
        self._loop: asyncio.AbstractEventLoop | None = None
        self._on_loss: Callable[[], None] | None = None
        # Signals that the guardian has announced and that have not been received since.
        self._announced: list[int] = []
        # When each signal was last received once, by number and whether it was forwarded.
        self._single: dict[tuple[int, bool], float] = {}

    def watch(self, loop: asyncio.AbstractEventLoop, on_loss: Callable[[], None]) -> None:
        """Call ``on_loss`` once the guardian has died."""
        self._loop, self._on_loss = loop, on_loss
        loop.add_reader(self._descriptor, self._read)

    def close(self) -> None:
        """Stop watching."""
        if self._loop is not None:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._loop = None

    def is_echo(self, number: int) -> bool:
        """Return whether a signal was already received, forwarded or directly, a moment ago.

        Call it exactly once for each received signal.
        """
        if self._loop is not None:
            # The announcement was written before the signal was sent, so it can be read now.
            self._read()
        forwarded = number in self._announced
        if forwarded:
            self._announced.remove(number)
        now = time.monotonic()
        # Only the other way counts: the same way twice means two signals.
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
            # If this process is suspended, the kernel wakes it with a SIGHUP for the same reason.
            self._single[signal.SIGHUP, True] = time.monotonic()
            if self._on_loss is not None:
                self._on_loss()


def is_wanted(mode: Mode, environ: Mapping[str, str], pid: int) -> bool:
    """Return whether the process ``pid`` should have a guardian.

    With ``auto``, the main process of a systemd service gets none, because systemd ends the whole
    control group with it.
    """
    # `INVOCATION_ID` alone is inherited by every descendant of a service; `SYSTEMD_EXEC_PID` tells
    # which process systemd started.
    if mode == "auto":
        is_service = "INVOCATION_ID" in environ and environ.get("SYSTEMD_EXEC_PID") == str(pid)
        return not is_service
    return mode == "on"


def guarded(leftovers: Callable[[], None]) -> Lifeline:
    """Fork, and return in the child, which is the host. The parent guards it and never returns.

    The host leads its own process group, so that a signal from the terminal reaches it only once,
    through the guardian. There must not be any thread yet.

    Args:
        leftovers: Ends what the host has recorded; used without a subreaper.

    Raises:
        OSError: No further process or pipe is available.
    """
    reading, writing = os.pipe()
    # Neither side may block the other: a stopped host must not stop its guardian.
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    guardian = os.getpid()
    # Children from before the exec, such as a shell's background jobs, are not the host's.
    spared = {(stat.pid, stat.start) for stat in _children(guardian)} if has_proc() else set()
    is_reaper = _become_reaper()
    forwarded = _forwarded()
    # Ignored, the end of the host would be taken from the guardian.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # Blocked before the fork, so that no signal can be lost between it and sigwait().
    signal.pthread_sigmask(signal.SIG_BLOCK, {*forwarded, signal.SIGCHLD})
    # With one thread and nothing loaded, this copies little, and no lock can be held by another
    # thread.
    host = os.fork()
    if host:
        os.close(reading)
        _guard(_Guardian(host, writing, forwarded), None if is_reaper else leftovers, spared)
    os.close(writing)
    # Both sides do it, because either may run first, and a signal may arrive at once.
    os.setpgid(0, 0)
    # For the terminal, this is a background group; its log output must not stop it.
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    # A stopped process cannot notice that the guardian has died. The kernel wakes stopped groups
    # that are orphaned, but not a group whose threads are just about to stop.
    _prctl(_PR_SET_PDEATHSIG, signal.SIGCONT)
    # Not what was blocked before: the caller may have blocked the signals that are to end it.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    _pass_on(guardian)
    return Lifeline(reading, guardian)


def _pass_on(guardian: int) -> None:
    """Redirect to the host what systemd has addressed to the process that it started."""
    for name in ("LISTEN_PID", "WATCHDOG_PID"):
        if os.environ.get(name) == str(guardian):
            os.environ[name] = str(os.getpid())


def _guard(
    guardian: _Guardian, leftovers: Callable[[], None] | None, spared: set[tuple[int, int]]
) -> NoReturn:
    """Run as the guardian, and exit like the host. Never returns to the command line's code."""
    # What the exit code is if this process itself fails.
    code = 1
    try:
        code = guardian.run()
        if leftovers is None:
            _end_descendants(spared)
        else:
            leftovers()
    except BaseException:  # noqa: BLE001 - this process must not run the host's code
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


class _Guardian:
    """Forwards signals to the host, and waits for it to end."""

    def __init__(self, host: int, lifeline: int, forwarded: set[signal.Signals]) -> None:
        self._host = host
        self._lifeline = lifeline
        self._forwarded = forwarded

    def run(self) -> int:
        """Wait for the host's end, and return the exit code for it."""
        # A signal that is ignored by default is only kept for sigwait() if it has a handler.
        signal.signal(signal.SIGCHLD, lambda *_: None)
        with suppress(OSError):
            os.setpgid(self._host, self._host)  # the child does it too; either may be first
        _rename()
        _close_all_but(self._lifeline)
        while (code := self._reap()) is None:
            number = signal.sigwait({*self._forwarded, signal.SIGCHLD})
            if number != signal.SIGCHLD:
                self._forward(signal.Signals(number))
        os.close(self._lifeline)
        return code

    def _reap(self) -> int | None:
        """Reap children that have ended; return the host's exit code once it is among them."""
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == self._host:
                code = os.waitstatus_to_exitcode(status)
                # As a shell reports it: 128 plus the number of the signal.
                return code if code >= 0 else 128 - code
            if pid == 0:
                return None

    def _forward(self, number: signal.Signals) -> None:
        with suppress(OSError):  # the pipe is full, or the host has closed it
            os.write(self._lifeline, bytes([number]))
        os.kill(self._host, number)  # not reaped yet, so the PID is still the host's
        # Ctrl-Z must stop both, or the shell would wait for a process that still runs.
        if number is signal.SIGTSTP:
            os.kill(os.getpid(), signal.SIGSTOP)


def _forwarded() -> set[signal.Signals]:
    hangup = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN  # ignored under nohup
    return {*_FORWARDED, signal.SIGHUP} if hangup else {*_FORWARDED}


def _become_reaper() -> bool:
    """Make orphans below this process its children; return false if that is not supported."""
    return _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _rename() -> None:
    """Set another name than the host's in ``ps`` and ``top``."""
    import ctypes

    _prctl(_PR_SET_NAME, ctypes.c_char_p(_NAME))


def _prctl(option: int, argument: object) -> bool:
    if sys.platform != "linux":
        return False
    try:
        import ctypes

        return bool(ctypes.CDLL(None).prctl(option, argument, 0, 0, 0) == 0)
    except (ImportError, OSError, AttributeError):  # a Python or a C library without it
        return False


def _close_all_but(kept: int) -> None:
    """Close inherited descriptors: a socket or a lock must not stay open here."""
    names = []
    with suppress(OSError):  # without that directory they stay open
        names = os.listdir("/dev/fd")  # noqa: PTH208
    for descriptor in map(int, names):
        if descriptor > _STDERR and descriptor != kept:
            with suppress(OSError):  # the descriptor of that listing is already closed
                os.close(descriptor)


# Ending the descendants.


def _end_descendants(spared: set[tuple[int, int]]) -> None:
    """Kill and reap until nothing is left below this process.

    Args:
        spared: Children from before it was a guardian, by PID and start time.
    """
    # Repeated, because a process may fork between the walk and its signal.
    until = time.monotonic() + _PATIENCE_S
    while victims := _descendants(spared):
        for stat in victims:
            send(stat, signal.SIGKILL)
        _record_end()
        # More patience does not help with what belongs to another user.
        if time.monotonic() > (until if any(map(_is_ours, victims)) else until - _SPARED_S):
            pids = ", ".join(str(stat.pid) for stat in victims)
            print(f"vconnect: PIDs still alive after SIGKILL: {pids}", file=sys.stderr)
            return
        # Zombies are reaped by their parents' death or by us; only living processes take time.
        if any(stat.is_alive for stat in victims):
            time.sleep(_POLL_S)


def _descendants(spared: set[tuple[int, int]]) -> list[ProcessStat]:
    """List all processes below this one, including zombies."""
    below: dict[int, list[ProcessStat]] = {}
    for stat in processes():
        if (stat.pid, stat.start) not in spared:
            below.setdefault(stat.parent, []).append(stat)
    # Parents first, so that a parent cannot react to the death of its child by starting another.
    found: list[ProcessStat] = []
    parents = [os.getpid()]
    while parents:
        children = below.get(parents.pop(), [])
        found += children
        parents += [child.pid for child in children]
    return found


def _is_ours(stat: ProcessStat) -> bool:
    """Return whether a process may be signaled."""
    try:
        os.kill(stat.pid, 0)
    except PermissionError:
        return False
    except ProcessLookupError:
        pass
    return True


def _children(pid: int) -> list[ProcessStat]:
    return [stat for stat in processes() if stat.parent == pid]


def _record_end() -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
