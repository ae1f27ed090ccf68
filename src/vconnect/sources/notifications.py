"""The system's notifications about files, for the watch over sources."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from watchfiles._rust_notify import RustNotify

#: Device and inode, which tell one directory from another in its place.
Identity = tuple[int, int]

# So many directories of one plugin are watched. Others than sources are in larger ones, and the
# kernel's limit is shared with everything else that the user runs.
_MAX_DIRECTORIES = 2_000
_LIMITS = Path("/proc/sys/fs/inotify")


class Notifications:
    """Watches directories, not what is below them. Methods block for milliseconds."""

    # `drain` is asked several times a second: `watchfiles` collects what happens meanwhile in a
    # native thread, not a Python thread, so none has to wait here for a change.

    def __init__(self) -> None:
        self._watched: dict[str, dict[str, Identity]] = {}
        self._without: dict[str, dict[str, Identity]] = {}
        self._notify: RustNotify | None = None

    def cover(self, name: str) -> bool:
        """Return whether a plugin's directories are watched."""
        return name in self._watched

    def drain(self) -> set[str]:
        """Return the paths for which there was a notification since the last call."""
        if self._notify is None:
            return set()
        try:
            told = self._notify.watch(1, 1, 1, None)
        except RuntimeError:  # watching has ended, and `follow` begins it again
            self.close()
            return set()
        return {path for _, path in told} if isinstance(told, set) else set()

    def follow(self, wanted: Mapping[str, dict[str, Identity]]) -> tuple[bool, list[str]]:
        """Watch the directories of each plugin.

        Returns:
            Whether notifications may have been missed meanwhile, and warnings about plugins that
            are not watched because of the system.
        """
        # One that could not be watched is tried again when its directories are others.
        self._without = {
            name: paths for name, paths in self._without.items() if wanted.get(name) == paths
        }
        watched = {
            name: paths
            for name, paths in wanted.items()
            if paths and len(paths) <= _MAX_DIRECTORIES and name not in self._without
        }
        if watched == self._watched:
            return False, []
        self.close()
        warnings = []
        while watched:
            try:
                self._notify = _new_notify({path for paths in watched.values() for path in paths})
                break
            except FileNotFoundError:
                # One is gone since the scan. The next scan sees that.
                watched = {}
            except (OSError, RuntimeError) as error:
                # Without the largest, there may be enough for the others.
                name = max(watched, key=lambda one: len(watched[one]))
                self._without[name] = watched.pop(name)
                warnings.append(_why_not(name, len(self._without[name]), error))
        self._watched = watched
        return bool(watched), warnings

    def close(self) -> None:
        """Watch nothing."""
        if self._notify is not None:
            self._notify.close()
            self._notify = None
        self._watched = {}


def _new_notify(paths: set[str]) -> RustNotify:
    # Imported here: it takes a while, and most hosts have no plugins from source.
    from watchfiles._rust_notify import RustNotify

    return RustNotify(
        sorted(paths),
        debug=False,
        force_polling=False,
        poll_delay_ms=300,
        recursive=False,
        ignore_permission_denied=False,  # it would ignore every other problem too
    )


def _why_not(name: str, directories: int, error: Exception) -> str:
    return (
        f"plugin {name}: the system does not watch the {directories} directories of its source, "
        f"which is looked through now and then instead: {_words(error)}"
    )


def _words(error: Exception) -> str:
    # `watchfiles` passes some errors on as text only.
    text = str(error)
    if "watch limit" in text or os.strerror(errno.ENOSPC) in text:
        return f"the kernel's limit is reached; raise fs.inotify.{_limit('max_user_watches')}"
    if os.strerror(errno.EMFILE) in text:
        limit = _limit("max_user_instances")
        return f"a limit is reached; raise fs.inotify.{limit}, or this process's open files"
    return text


def _limit(name: str) -> str:
    try:
        return f"{name} (now {(_LIMITS / name).read_text().strip()})"
    except OSError:
        return name
