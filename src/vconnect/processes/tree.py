"""The processes of one start: who belongs to it, signals to all of them, and who is left."""

# A start is identified by its session, which its leader began. A process can leave that, by a
# session of its own, so two more marks count: the cgroup of the start, and descent from the leader.
# /proc may hide a process (hidepid, a program that may not be read), or not be there at all. What
# is not seen is not taken for gone: the leader's exit is known from elsewhere, and the group gets
# its signals in any case.

from __future__ import annotations

import os
import pwd
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import NamedTuple

from .cgroup import Cgroup
from .procfs import (
    ProcessStat,
    command_name,
    has_proc,
    is_living,
    living,
    members,
    owner_of,
    pids_of,
    read_stat,
)

# A process that is deeper below its leader than this is not looked for.
_MAX_DEPTH = 64
# How many processes a reason names.
_MOST_NAMED = 3
# How many dead processes a look reads about, at some 30 µs each.
_MOST_READ = 200


class Origin(NamedTuple):
    """Where a process comes from, looked up once for all plugins.

    Attributes:
        ancestors: The PIDs of its parent, its parent's parent and so on.
        cgroup: The path of its cgroup below the root of the hierarchy; empty if that is unknown.
    """

    ancestors: tuple[int, ...]
    cgroup: str


def origin_of(pid: int) -> Origin:
    """Look up where a process comes from, as far as ``/proc`` tells."""
    return Origin(_ancestors(pid), _cgroup_path(pid))


def _ancestors(pid: int) -> tuple[int, ...]:
    found: list[int] = []
    with suppress(OSError):  # no descriptor left to look with
        stat = read_stat(pid) if has_proc() else None
        while stat is not None and stat.parent > 1 and len(found) < _MAX_DEPTH:
            parent = read_stat(stat.parent)
            # A parent that began later has got the PID of the real one, which has ended.
            if parent is None or parent.start > stat.start:
                break
            found.append(parent.pid)
            stat = parent
    return tuple(found)


def _cgroup_path(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cgroup", "rb") as file:  # noqa: PTH123 - once per connection
            lines = os.fsdecode(file.read()).splitlines()
    except OSError:
        return ""
    return next((line[3:] for line in lines if line.startswith("0::")), "")


class ProcessTree:
    """The leader of a session and all processes that belong to its start.

    Args:
        pid: The leader's PID, which is also the ID of its session.
        cgroup: The cgroup of the start, if it has one.
        is_wrapped: Whether the leader is ``bwrap`` and the plugin its child.
    """

    def __init__(self, pid: int, cgroup: Cgroup | None = None, *, is_wrapped: bool = False) -> None:
        self.pid = pid
        self.cgroup = cgroup
        self._is_wrapped = is_wrapped

    def owns(self, pid: int) -> bool:
        """Return whether process ``pid`` belongs to it, by its session or its group."""
        try:
            return os.getsid(pid) == self.pid or os.getpgid(pid) == self.pid
        except ProcessLookupError:
            return False

    def begat(self, origin: Origin) -> bool:
        """Return whether a process belongs to it that has left its session: by cgroup or descent.

        ``script``, ``setsid --wait`` and ``sudo`` start their command in a session of its own.
        """
        if self.cgroup is not None and self.cgroup.contains(origin.cgroup):
            return True
        return self.pid in origin.ancestors

    def members(self) -> Iterator[ProcessStat]:
        """Yield its living processes, as far as ``/proc`` shows them.

        Raises:
            OSError: They cannot be listed, for example without a free descriptor.
        """
        if not has_proc():
            return
        yield from members((self.pid,))
        yield from living(self._strays())

    def has_followers(self) -> bool:
        """Return whether a living process other than the leader is seen."""
        try:
            return self._has_living()
        except OSError:
            return False

    def is_empty(self, *, is_reaped: bool) -> bool:
        """Return whether nothing of it is left, once its leader has exited.

        Args:
            is_reaped: Whether the leader has been reaped. Without ``/proc`` only the group can be
                tested, and until then the leader itself counts.
        """
        if has_proc():
            try:
                return not self._has_living()
            except OSError:  # no descriptor left to look with; assume the worse
                return False
        if not is_reaped and sys.platform == "linux":
            return False
        try:
            os.killpg(self.pid, 0)
        except (ProcessLookupError, PermissionError):  # macOS: EPERM when only zombies are left
            return True
        return False

    def send(self, *numbers: signal.Signals) -> None:
        """Send signals to the group, and to processes that have left it for one of their own."""
        if self._is_wrapped and signal.SIGKILL not in numbers:
            self._signal_wrapped(numbers)
            return
        with suppress(ProcessLookupError, PermissionError):
            for number in numbers:
                os.killpg(self.pid, number)
        with suppress(OSError):  # no descriptor left to look with; the next round may have one
            for pid in self._pids():
                # The others of the group already have the signals.
                if not _is_in_group(pid, self.pid):
                    _send(pid, numbers)

    def ask(self, number: signal.Signals) -> None:
        """Send a signal that processes may handle, and wake the stopped ones, so that they can.

        All are woken, as systemd does it: to look for those that are stopped, the host would have
        to read about each, and there can be thousands.
        """
        self.send(number, signal.SIGCONT)

    def kill(self) -> None:
        """Send SIGKILL to all of it."""
        self.send(signal.SIGKILL)
        # After the session: `cgroup.kill` also reaches what has forked since that was listed.
        if self.cgroup is not None:
            self.cgroup.kill()

    def _pids(self) -> Iterator[int]:
        """Yield its processes, zombies included, without reading about any."""
        if not has_proc():
            return
        yield from pids_of(self.pid)
        yield from self._strays()

    def _has_living(self) -> bool:
        """Return whether another process than the leader is alive, or there is no end of dead ones.

        A dead process is seen to be dead only by reading about it, and a plugin can leave thousands
        to a parent that does not reap them. So the look ends early; there is another one soon.
        """
        # The leader is known from elsewhere. One that /proc shows but does not describe may be it.
        others = (pid for pid in self._pids() if pid != self.pid)
        return any(is_living(pid) for pid in islice(others, _MOST_READ)) or next(others, 0) > 0

    def _strays(self) -> Iterator[int]:
        """Yield what is in its cgroup but has left its session."""
        if self.cgroup is not None:
            yield from (pid for pid in self.cgroup.all_pids() if not _is_in_session(pid, self.pid))

    def _signal_wrapped(self, numbers: Iterable[signal.Signals]) -> None:
        """Signal all but `bwrap`, whose exit would kill the plugin before its grace period ends."""
        with suppress(OSError):
            # If only `bwrap` is left, it gets the signal after all.
            has_others = self.has_followers()
            for pid in self._pids():
                if not has_others or pid != self.pid:
                    _send(pid, numbers)

    # What does not end.

    def is_beyond_reach(self) -> bool:
        """Return whether all that is left refuses our signals: more patience changes nothing."""
        refuses = None
        with suppress(OSError):
            # Ends at the first that obeys.
            for stat in self.members():
                refuses = _refuses(stat.pid)
                if not refuses:
                    break
        return bool(refuses)

    def who_is_left(self) -> str:
        """Name the living processes, and say why each cannot be ended."""
        try:
            left = list(self.members())
            has_more_dead = not left and self._has_living()
        except OSError as error:
            return f"processes that cannot be listed: {_lower(error.strerror)}"
        if has_more_dead:
            return "more dead processes than are looked at, which their parent does not reap"
        if not left:
            return f"PID {self.pid} cannot be ended: it does not die of SIGKILL"
        words = "; ".join(_in_words(stat) for stat in left[:_MOST_NAMED])
        more = len(left) - _MOST_NAMED
        return f"{words}; and {more} more" if more > 0 else words


def _is_in_group(pid: int, group: int) -> bool:
    try:
        return os.getpgid(pid) == group
    except OSError:  # it has ended, so no signal is due
        return True


def _is_in_session(pid: int, session: int) -> bool:
    try:
        return os.getsid(pid) == session
    except OSError:
        return True


def _send(pid: int, numbers: Iterable[signal.Signals]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        for number in numbers:
            os.kill(pid, number)


def _refuses(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except ProcessLookupError:
        return False
    return False


def _in_words(stat: ProcessStat) -> str:
    uid = owner_of(stat.pid)
    who = ", ".join(word for word in (_user(uid), command_name(stat.pid)) if word)
    if _refuses(stat.pid):
        why = "operation not permitted"
    elif stat.state == "D":
        why = "it waits in the kernel, for example for a disk or a network file system"
    else:
        why = "it does not die of SIGKILL"
    return f"PID {stat.pid}{f' ({who})' if who else ''} cannot be ended: {why}"


def _user(uid: int | None) -> str:
    if uid is None:
        return ""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _lower(text: str | None) -> str:
    return (text or "")[:1].lower() + (text or "")[1:]
