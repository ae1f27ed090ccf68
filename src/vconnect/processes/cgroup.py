"""One control group (cgroup v2): whoever is in it, whatever session or parent they have.

``Documentation/admin-guide/cgroup-v2.rst`` of the kernel says what its files mean. Where a host may
make cgroups is `cgroup_tree`'s affair.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from .procfs import ProcessStat, read_stat

_POLL_S = 0.005
_PATIENCE_S = 1.0
# A cgroup that was removed while we looked says either of the two.
_GONE = (errno.ENOENT, errno.ENODEV)


class Cgroup:
    """A directory of the hierarchy.

    Attributes:
        path: Where it is.
        memory_bytes: What the kernel holds its memory to, if anything.
    """

    def __init__(self, path: Path, memory_bytes: int | None = None) -> None:
        self.path = path
        self.memory_bytes = memory_bytes

    def read(self, name: str) -> str:
        """Read one of its files.

        Raises:
            OSError: It cannot be read; ``filename`` says which.
        """
        try:
            return (self.path / name).read_text()
        except OSError as error:
            raise self._named(error, name) from None

    def write(self, name: str, value: str) -> None:
        """Write one of its files, which must be there.

        Raises:
            OSError: The kernel refuses; ``filename`` says which.
        """
        try:
            with (self.path / name).open("r+") as file:
                file.write(value)
        except OSError as error:
            raise self._named(error, name) from None

    def open(self) -> int:
        """Open its directory: to start a process in it, or to lock it."""
        return os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def pids(self) -> list[int]:
        """List who is in it, by PID; 0 stands for one whom this process cannot see.

        Raises:
            OSError: It cannot be read, for want of a descriptor.
        """
        try:
            return [int(line) for line in self.read("cgroup.procs").split()]
        except OSError as error:
            if error.errno in _GONE:
                return []
            if error.errno != errno.EOPNOTSUPP:
                raise
            # A plugin has made it a threaded one, which only lists threads.
            return [int(line) for line in self.read("cgroup.threads").split()]

    def is_populated(self) -> bool:
        """Tell whether anybody is in it or below it; one that has ended may count for a moment.

        Raises:
            OSError: It cannot be read, for want of a descriptor.
        """
        try:
            return "populated 1" in self.read("cgroup.events")
        except OSError as error:
            if error.errno in _GONE:
                return False
            raise

    def living(self) -> list[ProcessStat]:
        """List the processes in it, and in cgroups that they have made below it.

        Raises:
            OSError: It cannot be read, for want of a descriptor.
        """
        if not self.is_populated():
            return []
        stats = [read_stat(pid) for place in self._all() for pid in place.pids()]
        return [stat for stat in stats if stat is not None and stat.is_alive]

    def kill(self) -> None:
        """Send SIGKILL to everybody in it at once; nobody is born meanwhile."""
        with suppress(OSError):
            self.write("cgroup.kill", "1")
            return
        with suppress(OSError):  # Linux before 5.14, or a threaded one; the caller comes again
            for stat in self.living():
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(stat.pid, signal.SIGKILL)

    def was_out_of_memory(self) -> bool:
        """Tell whether its tree came to its own memory limit, and the kernel killed for that.

        The kernel also kills for the limits of others: the service's, the machine's.
        """
        if self.memory_bytes is None:
            return False
        with suppress(OSError):
            counts = dict(line.split() for line in self.read("memory.events").splitlines())
            return counts.get("oom", "0") != "0" and counts.get("oom_kill", "0") != "0"
        return False

    def remove(self, patience_s: float = 0.0) -> bool:
        """Remove it with those below it, and tell whether it is gone.

        Args:
            patience_s: How long to wait for who is still on the way out of the kernel. Blocks.
        """
        until = time.monotonic() + patience_s
        while True:
            for place in reversed(list(self._all())):
                with suppress(OSError):
                    place.path.rmdir()
            if not self.path.exists():
                return True
            if time.monotonic() >= until:
                return False
            time.sleep(_POLL_S)

    def end(self) -> None:
        """Kill who is left in it and remove it; what takes longer the next host sweeps. Blocks."""
        self.kill()
        self.remove(_PATIENCE_S)

    def _all(self) -> Iterator[Cgroup]:
        """Yield it and all below it, parents first."""
        for place, _, _ in os.walk(self.path):
            yield Cgroup(Path(place))

    def _named(self, error: OSError, name: str) -> OSError:
        """Say of which file it is: an error in reading or writing does not."""
        return OSError(error.errno, error.strerror, str(self.path / name))
