"""Takes over what an older vconnect kept beside the plugins: its state and the plugins' data."""

# Older versions kept the state of all hosts in `plugin_dir/.vconnect/state`, and one data directory
# for each plugin in `plugin_dir/.vconnect/data`, whichever host ran it. Now each host has its own.
# The first host takes the data; the others find a note that says who has it.

from __future__ import annotations

import errno
import logging
import os
import shutil
from contextlib import suppress
from pathlib import Path

import msgspec

from vconnect.durable import make_directories, read_own, replace_file, sync
from vconnect.errors import StateError
from vconnect.plugins.state_file import HostState, Record, StateFile
from vconnect.processes.directories import older_hosts, sweep
from vconnect.removal import remove_tree
from vconnect.settings.model import Settings
from vconnect.store.trees import sync_tree
from vconnect.threads import in_thread

_NOTE = "moved"
_NEW = ".new-"

_log = logging.getLogger(__name__)


class Takeover:
    """What one host takes over. Every other method than `run` blocks.

    Args:
        settings: The host's settings.
    """

    def __init__(self, settings: Settings) -> None:
        self._state_dir = settings.state_directory
        self._socket = Path(settings.socket_path)
        self._plugin_dir = Path(settings.plugin_dir)
        self._old = self._plugin_dir / ".vconnect"

    async def run(self, state: HostState) -> None:
        """Take over everything, and open the state file in between.

        Raises:
            StateError: The state file was written by a newer vconnect, or the path is not
                a directory, or that of another host that is running.
        """
        if self._state_dir.exists() and not self._state_dir.is_dir():
            raise StateError(
                f"state_dir {self._state_dir} is not a directory; expected a directory or a "
                "path that does not exist"
            )
        await in_thread(None, self.take_state)
        # Ends the plugins that a killed host has left.
        await state.open()
        await in_thread(None, self.take_data)

    def take_state(self) -> None:
        """Take over this host's state file and the crash reports; failures are warnings.

        Call it before the state file is read. What killed hosts have left for their plugins alone
        is removed.

        Raises:
            StateError: Another host that is running has this state directory.
        """
        sweep(self._plugin_dir, self._state_dir)
        old = self._old / "state"
        file = StateFile(self._state_dir, self._socket).path
        try:
            self._sign()
            if old == self._state_dir:
                return  # the old default, written down
            for name in (file.name, f"{file.name}.broken", "crashes"):
                _take(old / name, self._state_dir / name)
            _remove_empty(old)
            _remove_empty(self._old / "run")
        except OSError as error:
            _log.warning("cannot take over the state in %s: %s", old, error.strerror)

    def take_data(self) -> None:
        """Take over the plugins' data directories; failures are warnings.

        Call it when no plugin of an earlier run of this host is left.
        """
        old = self._old / "data"
        data = self._state_dir / "data"
        if old == data:
            return
        try:
            if not old.is_dir():
                self._tell_of_note(data)
                return
            # Its plugins may be using the data.
            if older_hosts(self._plugin_dir):
                _log.warning(
                    "%s stays as it is while a host of an older vconnect uses it; to take the data "
                    "over, restart this host after that one has ended",
                    old,
                )
                return
            found = sorted(old.iterdir())
            taken = [path.name for path in found if _take(path, data / path.name)]
            if left := [path.name for path in found if os.path.lexists(path)]:
                _log.warning(
                    "%s: the data of %s stays, because there is some in %s",
                    old,
                    ", ".join(left),
                    data,
                )
            _remove_empty(old)
            if taken:
                replace_file(self._old / _NOTE, f"{data}\n{self._socket}\n".encode())
                _log.info("took over the data of %s from %s to %s", ", ".join(taken), old, data)
        except OSError as error:
            _log.warning("cannot take over the data in %s: %s", old, error.strerror)

    def _sign(self) -> None:
        """Write down whose state directory it is."""
        make_directories(self._state_dir)
        file, text = self._state_dir / "socket", f"{self._socket}\n".encode()
        with suppress(OSError):
            owner = read_own(file)
            if owner == text:
                return
            self._check_gone(Path(os.fsdecode(owner).rstrip("\n")))
        replace_file(file, text)

    def _check_gone(self, owner: Path) -> None:
        """Refuse a directory that another host is using: its plugins would share their data."""
        with suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
            data = read_own(StateFile(self._state_dir, owner).path)
            host = msgspec.json.decode(data, type=Record).host
            if host.is_alive():
                raise StateError(
                    f"state_dir {self._state_dir} is that of the host of {owner} (PID {host.pid}), "
                    "which is running; give this host a state_dir of its own"
                )
        _log.info("%s was that of the host of %s until now", self._state_dir, owner)

    def _tell_of_note(self, data: Path) -> None:
        """Say who has the data that this host's plugins may have used, at its first start."""
        if data.exists():
            return
        with suppress(OSError):
            place, socket = (self._old / _NOTE).read_text(encoding="utf-8").split("\n")[:2]
            _log.info(
                "the data that plugins had in %s is in %s, taken over by the host of %s; this "
                "host's plugins begin without data",
                self._old / "data",
                place,
                socket,
            )


def _take(source: Path, target: Path) -> bool:
    """Move a file or directory, also to another file system; nothing if the target exists."""
    if not os.path.lexists(source) or os.path.lexists(target):
        return False
    make_directories(target.parent)
    try:
        source.rename(target)
    except FileNotFoundError:
        return False  # another host has just taken it
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _take_across(source, target)
    sync(target.parent)
    return True


def _take_across(source: Path, target: Path) -> None:
    """Copy, sync, and only then remove: a kill leaves one whole copy at least."""
    new = target.with_name(_NEW + target.name)
    remove_tree(new)
    if source.is_dir():
        shutil.copytree(source, new, symlinks=True)
        sync_tree(new)
    else:
        shutil.copy2(source, new)
        sync(new)
    new.rename(target)
    sync(target.parent)
    remove_tree(source)


def _remove_empty(directory: Path) -> None:
    with suppress(OSError):  # not empty: the rest belongs to other hosts
        directory.rmdir()
