"""What the operator lets a plugin's process use, and see."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Annotated, Literal

import msgspec

Sandbox = Literal["off", "nnp", "bwrap"]
Amount = Annotated[int, msgspec.Meta(ge=0)]

# SIGXCPU comes at the soft limit, SIGKILL at the hard one; only the first has a telling name.
_CPU_GRACE_S = 5
# In which a cgroup's processor time is counted; the kernel's own default.
_CPU_PERIOD_US = 100_000


class ResourceLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table ``[plugins.options.NAME.limits]``: what the kernel holds each process to.

    ``None`` leaves the host's own limit.

    Attributes:
        nofile: Open descriptors.
        nproc: Processes and threads of the same user, those of others included.
        cpu_s: Processor seconds.
        fsize_bytes: The largest file that it may write.
        core_bytes: The largest core dump; 0 for none.
        as_bytes: Address space, used or not.
    """

    nofile: Amount | None = None
    nproc: Amount | None = None
    cpu_s: Amount | None = None
    fsize_bytes: Amount | None = None
    core_bytes: Amount | None = None
    as_bytes: Amount | None = None

    def problem(self) -> str:
        """Say why the host cannot set them, key first; empty if it can."""
        for key, number, value in self._given():
            if sys.platform != "linux":
                return f"limits.{key}: only Linux can limit another process; remove it"
            _, hard = resource.getrlimit(number)
            if hard != resource.RLIM_INFINITY and value > hard:
                return (
                    f"limits.{key}: {value} is above this host's own hard limit of {hard}; "
                    "lower it, or raise the host's"
                )
        return ""

    def apply(self, pid: int) -> None:
        """Hold a process to them, and with it those that it starts from now on.

        Raises:
            OSError: The kernel refuses.
        """
        if sys.platform == "linux":
            for _, number, value in self._given():
                with suppress(ProcessLookupError):  # it has ended
                    resource.prlimit(pid, number, _pair(number, value))

    def arguments(self) -> list[str]:
        """Put them as options of the command ``prlimit``, which sets them before it executes."""
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
    """One table ``[plugins.options.NAME.tree_limits]``: what all of its processes have together.

    The kernel holds them to it, by a cgroup; ``None`` for no limit.

    Attributes:
        memory_bytes: Memory, files in the page cache included. At the limit these are dropped;
            then the whole tree is killed, and replaced with the reason ``memory_limit``.
        processes: Processes and threads.
        cpu_percent: Of one processor: 250 for two and a half.
    """

    memory_bytes: Annotated[int, msgspec.Meta(ge=1, le=1 << 62)] | None = None
    processes: Annotated[int, msgspec.Meta(ge=1, le=1 << 22)] | None = None
    cpu_percent: Annotated[float, msgspec.Meta(ge=1, le=1e6)] | None = None

    def controllers(self) -> dict[str, str]:
        """Map each key that is given to the cgroup controller that it needs."""
        controllers = {"memory_bytes": "memory", "processes": "pids", "cpu_percent": "cpu"}
        return {key: name for key, name in controllers.items() if getattr(self, key) is not None}

    def files(self) -> Iterator[tuple[str, str]]:
        """List what is written into which file of the cgroup."""
        if self.memory_bytes is not None:
            yield "memory.max", str(self.memory_bytes)
            yield "memory.swap.max", "0"  # swap would only put the end off, for hours
            yield "memory.oom.group", "1"  # half a tree is no plugin
        if self.processes is not None:
            yield "pids.max", str(self.processes)
        if self.cpu_percent is not None:
            yield "cpu.max", f"{int(self.cpu_percent * _CPU_PERIOD_US / 100)} {_CPU_PERIOD_US}"


def _pair(number: int, value: int) -> tuple[int, int]:
    """Make the soft and the hard limit: one number, so that no plugin raises its own."""
    if number != resource.RLIMIT_CPU:
        return value, value
    _, hard = resource.getrlimit(number)
    longest = value + _CPU_GRACE_S
    return value, longest if hard == resource.RLIM_INFINITY else min(longest, hard)
