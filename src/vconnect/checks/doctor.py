"""What ``vconnect doctor`` looks at: whether this machine and its directories suit a host."""

# Each check looks at one thing, needs no running host, and changes nothing. What it finds comes
# with the step to take.

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, TypeAlias

from vconnect.descriptors import limit
from vconnect.plain import Plain
from vconnect.processes.landlock import supported_version
from vconnect.processes.seccomp import obstacle_to_filter
from vconnect.settings.model import Settings
from vconnect.settings.paths import expand_home

Level: TypeAlias = Literal["ok", "warn", "fail"]

# Plugins, their logs and the connections of each take descriptors.
_FEW_DESCRIPTORS = 4096
_TOO_FEW_DESCRIPTORS = 256
# Of a disk: what an installation needs, and what is worth a warning. On a large disk, a small
# share is still much.
_FULL, _FULL_BYTES = 0.05, 1 << 30
_NEARLY_FULL, _NEARLY_FULL_BYTES = 0.10, 5 << 30
_PYTHONS = ("python3.11", "python3.12", "python3.13", "python3.14")


class Check(Plain, frozen=True):
    """What one check has found.

    Attributes:
        id: What was looked at, in one word.
        level: ``ok``; ``warn`` for what may become a problem; ``fail`` for what is one.
        detail: What was found.
        next: The step to take; empty if all is well.
    """

    id: str
    level: Level
    detail: str
    next: str = ""


class Diagnosis(Plain, frozen=True):
    """What all checks have found.

    Attributes:
        ok: Whether nothing has failed; warnings do not count.
        checks: The findings, in the order of the checks.
    """

    ok: bool
    checks: tuple[Check, ...]


def diagnose(checks: Sequence[Check]) -> Diagnosis:
    """Put findings together."""
    return Diagnosis(all(one.level != "fail" for one in checks), tuple(checks))


def examine(settings: Settings, survivors: Sequence[tuple[str, int]] = ()) -> Diagnosis:
    """Look at everything. Blocks, for a second at most.

    Args:
        settings: The host's settings.
        survivors: Processes that a dead host has left, by the name of their plugin.
    """
    checks: list[Check] = []
    for look in _LOOKS:
        checks += look(settings)
    checks += _orphans(survivors)
    return diagnose(checks)


def _sockets(settings: Settings) -> Iterator[Check]:
    for name, text in (("socket", settings.socket_path), ("admin", settings.admin_socket)):
        path = expand_home(text)
        try:
            found = path.lstat()
        except OSError as error:
            if isinstance(error, FileNotFoundError):
                yield Check(name, "ok", f"{path} is not there; a host makes it")
            else:
                step = "make its directory readable for you, or choose another socket_path"
                yield Check(name, "fail", f"{path}: {error.strerror}", step)
            continue
        yield _socket(name, path, found)


def _socket(name: str, path: Path, found: os.stat_result) -> Check:
    mode = stat.S_IMODE(found.st_mode)
    if not stat.S_ISSOCK(found.st_mode):
        return Check(name, "fail", f"{path} is no socket", "move it away; a host needs its name")
    if found.st_uid not in (0, os.geteuid()):
        step = "run the host and this command as the same user"
        return Check(name, "fail", f"{path} belongs to user {found.st_uid}", step)
    if mode & 0o077:
        step = f"chmod 600 {path}, and see what has changed it"
        return Check(name, "fail", f"{path} is open to others (mode {mode:04o})", step)
    return Check(name, "ok", f"{path}, {mode:04o}, ours")


def _directories(settings: Settings) -> Iterator[Check]:
    places = (("plugins", Path(settings.plugin_dir)), ("state", Path(settings.state_directory)))
    for name, path in places:
        yield _directory(name, path)


def _directory(name: str, path: Path) -> Check:
    try:
        found = path.stat()
    except FileNotFoundError:
        parent = _existing(path)
        if os.access(parent, os.W_OK):
            return Check(name, "ok", f"{path} is not there; a host makes it")
        step = f"make it, or give yourself the right to write to {parent}"
        return Check(name, "fail", f"{path} is not there, and cannot be made", step)
    except OSError as error:
        return Check(name, "fail", f"{path}: {error.strerror}", "look at its permissions")
    if not stat.S_ISDIR(found.st_mode):
        return Check(name, "fail", f"{path} is no directory", "move it away")
    if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
        step = f"chmod o-w {path}"
        return Check(name, "fail", f"every user can write to {path}", step)
    if not os.access(path, os.W_OK | os.X_OK):
        step = f"give yourself the right to write to {path}"
        return Check(name, "fail", f"{path} cannot be written", step)
    return Check(name, "ok", f"{path}, {stat.S_IMODE(found.st_mode):04o}")


def _descriptors(_: Settings) -> Iterator[Check]:
    count = limit()
    if count is None:
        yield Check("files", "ok", "any number of open files")
        return
    level: Level = "ok"
    if count < _FEW_DESCRIPTORS:
        level = "fail" if count < _TOO_FEW_DESCRIPTORS else "warn"
    step = "raise it: ulimit -n 65536, or LimitNOFILE= of the service" if level != "ok" else ""
    yield Check("files", level, f"at most {count:,} open files", step)


def _sandboxes(_: Settings) -> Iterator[Check]:
    """Say which levels of isolation this machine has; what is wanted and missing stops a plugin."""
    if sys.platform != "linux":
        yield Check("sandbox", "warn", "none: sandboxes need Linux", "trust your plugins")
        return
    version = supported_version()
    if version:
        yield Check("landlock", "ok", f"version {version}")
    else:
        step = "use bwrap, or a kernel from 5.13 on with Landlock"
        yield Check("landlock", "warn", "this kernel has none", step)
    program = shutil.which("bwrap")
    if program is None:
        yield Check("bwrap", "warn", "not installed", 'install bubblewrap for sandbox = "bwrap"')
    else:
        yield Check("bwrap", "ok", program)
    obstacle = obstacle_to_filter()
    if obstacle:
        yield Check("seccomp", "warn", obstacle, "set sandbox_seccomp = false")
    else:
        yield Check("seccomp", "ok", "system calls can be filtered")


def _pythons(_: Settings) -> Iterator[Check]:
    own = ".".join(map(str, sys.version_info[:3]))
    others = [one for one in _PYTHONS if shutil.which(one)]
    found = f"; on the PATH: {', '.join(others)}" if others else ""
    yield Check("python", "ok", f"the host's is {own}{found}")


def _uvloop(_: Settings) -> Iterator[Check]:
    if find_spec("uvloop") is not None:
        yield Check("uvloop", "ok", "installed")
    else:
        yield Check("uvloop", "warn", "not installed; the host is slower", "install uvloop")


def _disk(settings: Settings) -> Iterator[Check]:
    place = _existing(Path(settings.plugin_dir))
    try:
        usage = shutil.disk_usage(place)
    except OSError as error:
        yield Check("disk", "warn", f"{place}: {error.strerror}", "look at the file system")
        return
    share = usage.free / usage.total if usage.total else 0.0
    detail = f"{share:.0%} of {place} is free ({usage.free / (1 << 30):,.1f} GiB)"
    step = "uninstall what is not used, or take a larger disk"
    if share < _FULL and usage.free < _FULL_BYTES:
        yield Check("disk", "fail", f"{detail}, installs need 5%", step)
    elif share < _NEARLY_FULL and usage.free < _NEARLY_FULL_BYTES:
        yield Check("disk", "warn", detail, step)
    else:
        yield Check("disk", "ok", detail)


def _orphans(survivors: Sequence[tuple[str, int]]) -> Iterator[Check]:
    if not survivors:
        yield Check("orphans", "ok", "no process of a dead host is left")
        return
    shown = ", ".join(f"{plugin} (PID {pid})" for plugin, pid in survivors[:8])
    step = "start the host, which ends them: vconnect serve"
    yield Check("orphans", "fail", f"a dead host has left processes: {shown}", step)


def _existing(path: Path) -> Path:
    """Return the nearest directory that exists."""
    absolute = path.absolute()
    return next((one for one in (absolute, *absolute.parents) if one.exists()), Path("/"))


_LOOKS: tuple[Callable[[Settings], Iterator[Check]], ...] = (
    _sockets,
    _directories,
    _descriptors,
    _sandboxes,
    _pythons,
    _uvloop,
    _disk,
)
