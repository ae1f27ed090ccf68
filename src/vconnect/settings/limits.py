"""Resource limits and sandboxing of a plugin's processes."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Annotated, Literal

import msgspec

Sandbox = Literal["off", "nnp", "landlock", "bwrap"]
Amount = Annotated[int, msgspec.Meta(ge=0)]

# The kernel sends SIGXCPU at the soft limit and SIGKILL at the hard limit. Only SIGXCPU shows in
# the exit status what happened, so it gets this many seconds to take effect.
_CPU_GRACE_S = 5
# The period in which a cgroup's processor time is counted: the kernel's default.
_CPU_PERIOD_US = 100_000


class ResourceLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table ``[plugins.options.NAME.limits]``: the kernel's limits for each process.

    ``None`` keeps the limit that the host was started with.

    Attributes:
        nofile: Open descriptors.
        nproc: Processes and threads of the host's user, including those of other programs.
        cpu_s: Processor time in seconds.
        fsize_bytes: The size of a file that the process writes.
        core_bytes: The size of a core dump; 0 for none.
        as_bytes: Address space, whether used or not.
    """

    nofile: Amount | None = None
    nproc: Amount | None = None
    cpu_s: Amount | None = None
    fsize_bytes: Amount | None = None
    core_bytes: Amount | None = None
    as_bytes: Amount | None = None

    def problem(self) -> str:
        """Return why the host cannot set the limits, beginning with the key; empty if it can."""
        for key, number, value in self._given():
            if sys.platform != "linux":
                return f"limits.{key}: requires Linux; remove it"
            # Only root may raise a hard limit.
            _, hard = resource.getrlimit(number)
            if hard != resource.RLIM_INFINITY and value > hard:
                return (
                    f"limits.{key}: {value} is above this host's own hard limit of {hard}; "
                    "lower it, or raise the host's"
                )
        return ""

    def apply(self, pid: int) -> None:
        """Set the limits of a process, which those that it starts from now on inherit.

        Raises:
            OSError: The kernel refused.
        """
        if sys.platform == "linux":
            for _, number, value in self._given():
                with suppress(ProcessLookupError):  # it has already exited
                    resource.prlimit(pid, number, _pair(number, value))

    def arguments(self) -> list[str]:
        """Return the limits as options of ``prlimit``, which sets them before it runs a command."""
        options = []
        for key, number, value in self._given():
            soft, hard = _pair(number, value)
            options.append(f"--{key.removesuffix('_bytes').removesuffix('_s')}={soft}:{hard}")
        return options

    def _given(self) -> Iterator[tuple[str, int, int]]:
        for key in self.__struct_fields__:
            value = getattr(self, key)
            if value is not None:
                name = key.removesuffix("_bytes").removesuffix("_s").upper()
                yield key, getattr(resource, f"RLIMIT_{name}"), value


class TreeLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table ``[plugins.options.NAME.tree_limits]``: limits for all of its processes together.

    The kernel enforces them with a cgroup. ``None`` means no limit.

    Attributes:
        memory_bytes: Memory, including the page cache, which is dropped first. Above the limit the
            whole tree is killed, and replaced with the reason ``memory_limit``.
        processes: The number of processes and threads.
        cpu_percent: Processor time in percent of one processor; 250 means two and a half.
    """

    # The upper bounds only keep the numbers within what the kernel's files accept.
    memory_bytes: Annotated[int, msgspec.Meta(ge=1, le=1 << 62)] | None = None
    processes: Annotated[int, msgspec.Meta(ge=1, le=1 << 22)] | None = None
    cpu_percent: Annotated[float, msgspec.Meta(ge=1, le=1e6)] | None = None

    def controllers(self) -> dict[str, str]:
        """Map each key that is set to the cgroup controller that it needs."""
        controllers = {"memory_bytes": "memory", "processes": "pids", "cpu_percent": "cpu"}
        return {key: name for key, name in controllers.items() if getattr(self, key) is not None}

    def files(self) -> Iterator[tuple[str, str]]:
        """Yield the files of the cgroup to write, with their contents."""
        if self.memory_bytes is not None:
            yield "memory.max", str(self.memory_bytes)
            yield "memory.swap.max", "0"  # swapping would only delay the end, perhaps for hours
            yield "memory.oom.group", "1"  # half a process tree cannot work
        if self.processes is not None:
            yield "pids.max", str(self.processes)
        if self.cpu_percent is not None:
            yield "cpu.max", f"{int(self.cpu_percent * _CPU_PERIOD_US / 100)} {_CPU_PERIOD_US}"


def _pair(number: int, value: int) -> tuple[int, int]:
    """Return soft and hard limit. They are equal, so that a plugin cannot raise its own."""
    if number != resource.RLIMIT_CPU:
        return value, value
    _, hard = resource.getrlimit(number)
    longest = value + _CPU_GRACE_S
    return value, longest if hard == resource.RLIM_INFINITY else min(longest, hard)
