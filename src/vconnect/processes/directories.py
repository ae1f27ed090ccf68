"""A plugin's private directories: its data, a temporary directory per start, and its secrets.

::

    state_dir/
        data/example/           the plugin's data; survives restarts, new versions and the host
        run/HOST-XXXX/          one start of one plugin, removed when it ends: its TMPDIR
        run/HOST-XXXX/          the same for a plugin that has secrets
            tmp/                its TMPDIR
            secrets/            a file per secret, mode 0600

HOST is the host's PID and start time, which identifies what a killed host has left.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import logging
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from vconnect.durable import make_directories, read_regular
from vconnect.errors import PluginStartError
from vconnect.removal import remove_tree

from .procfs import start_time

DATA_VARIABLE = "VCONNECT_DATA_DIR"
_TMP_VARIABLE = "TMPDIR"
_SECRET_VARIABLE = "VCONNECT_SECRET_{}_FILE"  # noqa: S105 - a variable's name

_PRIVATE = ".vconnect"
_RUN = "run"
# A secret is a key, a token or a certificate. The limit keeps a wrong path from filling the memory.
_MAX_SECRET_BYTES = 1024 * 1024

_log = logging.getLogger(__name__)


class PrivateDirectory:
    """The directories of one start.

    Args:
        plugin: The plugin's canonical name.
        state_dir: The absolute path of the host's state directory.
        with_secrets: Whether to create a directory for secrets.

    Attributes:
        data: The plugin's persistent data.
        run: The directory that is removed after this start.
        tmp: The plugin's temporary directory.
        secrets: The directory for its secrets; exists only if ``with_secrets``.

    Raises:
        OSError: A directory cannot be created.
    """

    def __init__(self, plugin: str, state_dir: Path, *, with_secrets: bool = True) -> None:
        self.data = make_data_directory(plugin, state_dir)
        runs = state_dir / _RUN
        make_directories(runs)
        # A random suffix, because one host has many starts, and names must not be guessed.
        self.run = runs / f"{_own_mark(os.getpid())}-{secrets.token_hex(8)}"
        self.run.mkdir(mode=0o700)
        self.secrets = self.run / "secrets"
        self.tmp = self.run
        if with_secrets:  # else one directory is enough; creating one is the slowest part of this
            self.tmp = self.run / "tmp"
            self.tmp.mkdir(mode=0o700)
            self.secrets.mkdir(mode=0o700)
        self._digest = hashlib.sha256()
        self._variables = {DATA_VARIABLE: str(self.data), _TMP_VARIABLE: str(self.tmp)}

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that give the plugin these paths."""
        return dict(self._variables)

    def add_secrets(self, plugin: str, sources: Mapping[str, str]) -> None:
        """Copy each secret from the operator's file to one of which only this plugin knows.

        Raises:
            PluginStartError: A secret cannot be read; the message never contains its content.
        """
        for name, source in sources.items():
            try:
                content = _read(Path(source))
                _warn_of_readers(plugin, name, Path(source))
                file = self.secrets / name
                # Never over an existing file: that could be a link, or readable by others.
                file.touch(mode=0o600, exist_ok=False)
                file.write_bytes(content)
                self._digest.update(_digest_of(name, content))
            except OSError as error:
                words = error.strerror or str(error)
                raise PluginStartError(
                    plugin, f"plugins.options.{plugin}.secrets.{name}: {source}: {words}"
                ) from None
            self._variables[_SECRET_VARIABLE.format(name)] = str(file)

    @property
    def secrets_digest(self) -> bytes:
        """What tells these secrets from others, see `digest_secrets`."""
        return self._digest.digest()

    def remove(self) -> None:
        """Remove everything that belongs to this start alone. Blocks."""
        _remove(self.run)


def digest_secrets(sources: Mapping[str, str]) -> bytes:
    """Return what tells the contents of secrets from others. Blocks.

    Raises:
        OSError: One of them cannot be read.
    """
    digest = hashlib.sha256()
    for name, source in sources.items():
        digest.update(_digest_of(name, _read(Path(source))))
    return digest.digest()


def _digest_of(name: str, content: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\0" + content).digest()


def data_directory(plugin: str, state_dir: Path) -> Path:
    """Return the path of a plugin's data directory."""
    return state_dir / "data" / plugin


def make_data_directory(plugin: str, state_dir: Path) -> Path:
    """Create a plugin's data directory if it is missing, and return its path.

    Raises:
        OSError: It cannot be created.
    """
    directory = data_directory(plugin, state_dir)
    make_directories(directory)
    return directory


def sweep(plugin_dir: Path, state_dir: Path) -> None:
    """Remove the directories of hosts that are gone. Blocks."""
    private = plugin_dir / _PRIVATE
    # Those of other sockets too, since their hosts may never come back; and of an older vconnect.
    for runs in {state_dir / _RUN, private / _RUN, *private.glob(f"hosts/*/{_RUN}")}:
        for path, pid, is_alive in _runs(runs):
            if pid and not is_alive:
                _remove(path)


def older_hosts(plugin_dir: Path) -> set[int]:
    """Return the PIDs of hosts of an older vconnect that run plugins of this directory. Blocks."""
    alive = {pid for _, pid, is_alive in _runs(plugin_dir / _PRIVATE / _RUN) if is_alive}
    return alive - {0, os.getpid()}


def _runs(runs: Path) -> Iterator[tuple[Path, int, bool]]:
    """Yield the directory of each start, its host's PID, or 0, and whether that host lives."""
    with suppress(OSError):
        for path in runs.iterdir():
            mark = path.name.rpartition("-")[0]
            pid = mark.partition(".")[0]
            number = int(pid) if pid.isdigit() else 0
            # A live host's mark is current, even if its PID was reused since an earlier host.
            yield path, number, bool(number) and mark == _mark(number)


def _mark(pid: int) -> str:
    """Identify a process by PID and start time: PIDs are reused, in a container regularly."""
    return f"{pid}.{start_time(pid)}"


@functools.cache
def _own_mark(pid: int) -> str:
    """Return this host's mark, read once: its start time stays. A fork has another PID."""
    return _mark(pid)


def _warn_of_readers(plugin: str, name: str, source: Path) -> None:
    """Say that others can read a secret's file, as ssh does of a key."""
    mode = source.stat().st_mode
    if mode & 0o044:
        _log.warning(
            "plugin %s: others can read the file of its secret %s (mode %04o); try: chmod 600 %s",
            plugin,
            name,
            stat.S_IMODE(mode),
            source,
        )


def _read(path: Path) -> bytes:
    content = read_regular(path, _MAX_SECRET_BYTES + 1)  # one more, to notice that there is more
    if len(content) > _MAX_SECRET_BYTES:
        raise OSError(errno.EFBIG, f"larger than {_MAX_SECRET_BYTES} bytes")
    return content


def _remove(directory: Path) -> None:
    """Remove a plugin's directory, whatever the plugin has made of it."""
    try:
        remove_tree(directory)
    except OSError as error:
        _log.warning("%s cannot be removed: %s", directory, error.strerror or error)
