"""One control group (cgroup v2): all processes in it, whatever their session or parent.

The kernel's ``Documentation/admin-guide/cgroup-v2.rst`` specifies the files. `cgroup_tree` decides
where a host may create cgroups.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from .procfs import ProcessStat, living

# A killed process leaves its cgroup a moment after SIGKILL, so removal polls instead of failing.
_POLL_S = 0.005
# `end` runs after each start; what it leaves behind is swept by the next host of the socket.
_PATIENCE_S = 1.0
# The errors of a cgroup that was removed while its files were opened or read.
_GONE = (errno.ENOENT, errno.ENODEV)


class Cgroup:
    """A directory of the cgroup hierarchy.

    Attributes:
        path: The directory.
        memory_bytes: The memory limit that the kernel enforces, or ``None``.
    """

    def __init__(self, path: Path, memory_bytes: int | None = None) -> None:
        self.path = path
        self.memory_bytes = memory_bytes

    def contains(self, path: str) -> bool:
        """Return whether a path below the root of the hierarchy is this cgroup, or one below it."""
        parts = path.strip("/").split("/")
        own = f"{self.path}/"
        # Where the hierarchy is mounted is not known here, but that its paths end our paths.
        return bool(parts[0]) and any(
            own.endswith(f"/{'/'.join(parts[:count])}/") for count in range(len(parts), 0, -1)
        )

    def read(self, name: str) -> str:
        """Read one of its files.

        Raises:
            OSError: The file cannot be read; ``filename`` is its path.
        """
        try:
            return (self.path / name).read_text()
        except OSError as error:
            raise self._named(error, name) from None

    def write(self, name: str, value: str) -> None:
        """Write one of its files, which must exist.

        Raises:
            OSError: The kernel refused; ``filename`` is the path of the file.
        """
        try:
            # "r+", because "w" would create a missing file, which the kernel reports as EACCES.
            with (self.path / name).open("r+") as file:
                file.write(value)
        except OSError as error:
            raise self._named(error, name) from None

    def open(self) -> int:
        """Open its directory: to start a process in it, or to lock it."""
        return os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def pids(self) -> list[int]:
        """List the PIDs in it; 0 stands for a process outside this PID namespace.

        Raises:
            OSError: The list cannot be read, for example without a free descriptor.
        """
        try:
            return [int(line) for line in self.read("cgroup.procs").split()]
        except OSError as error:
            if error.errno in _GONE:
                return []
            if error.errno != errno.EOPNOTSUPP:
                raise
            # The plugin has made it a threaded cgroup, which only lists threads.
            return [int(line) for line in self.read("cgroup.threads").split()]

    def is_populated(self) -> bool:
        """Return whether any process is in it or below it, including zombies for a moment.

        Raises:
            OSError: It cannot be read, for example without a free descriptor.
        """
        try:
            return "populated 1" in self.read("cgroup.events")
        except OSError as error:
            if error.errno in _GONE:
                return False
            raise

    def all_pids(self) -> Iterator[int]:
        """Yield the PIDs in it and in cgroups that its processes created below it, of zombies too.

        Raises:
            OSError: It cannot be read, for example without a free descriptor.
        """
        # One read for the common case; a walk over the tree opens a file per directory.
        if self.is_populated():
            for place in self._all():
                yield from filter(None, place.pids())

    def living(self) -> Iterator[ProcessStat]:
        """Yield the living processes in it and in cgroups that they created below it.

        Raises:
            OSError: It cannot be read, for example without a free descriptor.
        """
        return living(self.all_pids())

    def kill(self) -> None:
        """Send SIGKILL to all processes in it atomically, so that a fork cannot escape."""
        with suppress(OSError):
            self.write("cgroup.kill", "1")
            return
        # Linux before 5.14, or a threaded cgroup. A fork can escape this loop, so callers repeat.
        with suppress(OSError):
            for pid in self.all_pids():
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)

    def was_out_of_memory(self) -> bool:
        """Return whether its processes reached its own memory limit and were killed for that.

        The kernel also kills for other limits: those of the service or of the machine.
        """
        if self.memory_bytes is None:
            return False
        with suppress(OSError):
            # `oom` counts only this cgroup's limit, `oom_kill` any reason: together they mean ours.
            counts = dict(line.split() for line in self.read("memory.events").splitlines())
            return counts.get("oom", "0") != "0" and counts.get("oom_kill", "0") != "0"
        return False

    def remove(self, patience_s: float = 0.0) -> bool:
        """Remove it and the cgroups below it. Blocks.

        Args:
            patience_s: Seconds to wait for processes that are still exiting.

        Returns:
            Whether it is gone.
        """
        until = time.monotonic() + patience_s
        while True:
            # This alone needs no descriptor, and usually there is nothing below it.
            with suppress(OSError):
                self.path.rmdir()
                return True
            # Children first: the kernel removes only cgroups without children and processes.
            for place in reversed(list(self._all())):
                with suppress(OSError):
                    place.path.rmdir()
            if not self.path.exists():
                return True
            if time.monotonic() >= until:
                return False
            time.sleep(_POLL_S)

    def end(self) -> None:
        """Kill what is left in it and remove it. The next host sweeps what takes longer. Blocks."""
        self.kill()
        self.remove(_PATIENCE_S)

    def _all(self) -> Iterator[Cgroup]:
        """Yield it and all cgroups below it, parents first."""
        for place, _, _ in os.walk(self.path):
            yield Cgroup(Path(place))

    def _named(self, error: OSError, name: str) -> OSError:
        """Add the file's path, which errors of reading and writing lack."""
        return OSError(error.errno, error.strerror, str(self.path / name))
