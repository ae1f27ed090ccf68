"""What a plugin has to itself on disk: its data, a temporary directory per start, its secrets.

::

    plugin_dir/.vconnect/
        data/example/           the plugin's own; survives starts, versions and the host
        run/HOST-XXXX/          one start of one plugin, removed when it has ended: its TMPDIR
        run/HOST-XXXX/          the same of a plugin that has secrets
            tmp/                its TMPDIR
            secrets/            a file per secret, mode 0600

HOST is the host's PID and start time, so that what a killed host has left is known as such.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from vconnect.errors import PluginStartError

from .procfs import start_time

DATA_VARIABLE = "VCONNECT_DATA_DIR"
TMP_VARIABLE = "TMPDIR"
_SECRET_VARIABLE = "VCONNECT_SECRET_{}_FILE"  # noqa: S105 - a variable's name

_PRIVATE = ".vconnect"
_MAX_SECRET_BYTES = 1024 * 1024


class PrivateDirectory:
    """The directories of one start.

    Args:
        plugin: The plugin's canonical name.
        plugin_dir: Where plugins are installed; absolute.
        with_secrets: Whether there is a place for secrets.

    Attributes:
        data: Kept for the plugin.
        run: Everything that ends with this start.
        tmp: Its temporary directory.
        secrets: Where its secrets are.

    Raises:
        OSError: The directories cannot be made.
    """

    def __init__(self, plugin: str, plugin_dir: Path, *, with_secrets: bool = True) -> None:
        root = plugin_dir / _PRIVATE
        self.data = root / "data" / plugin
        runs = root / "run"
        for directory in (root, self.data.parent, self.data, runs):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.run = Path(tempfile.mkdtemp(prefix=f"{_mark(os.getpid())}-", dir=runs))
        self.secrets = self.run / "secrets"
        self.tmp = self.run
        if with_secrets:  # else one directory does; making one is what costs most in a start
            self.tmp = self.run / "tmp"
            self.tmp.mkdir(mode=0o700)
            self.secrets.mkdir(mode=0o700)
        self._variables = {DATA_VARIABLE: str(self.data), TMP_VARIABLE: str(self.tmp)}

    @property
    def environment(self) -> dict[str, str]:
        """The variables that tell the plugin of them."""
        return dict(self._variables)

    def add_secrets(self, plugin: str, sources: Mapping[str, str]) -> None:
        """Copy each secret from the operator's file to one that only this plugin is told of.

        Raises:
            PluginStartError: A secret cannot be had; the message never holds its content.
        """
        for name, source in sources.items():
            try:
                content = _read(Path(source))
                file = self.secrets / name
                file.touch(mode=0o600, exist_ok=False)
                file.write_bytes(content)
            except OSError as error:
                words = error.strerror or str(error)
                raise PluginStartError(
                    plugin, f"plugins.options.{plugin}.secrets.{name}: {source}: {words}"
                ) from None
            self._variables[_SECRET_VARIABLE.format(name)] = str(file)

    def remove(self) -> None:
        """Remove what ends with this start. Blocks."""
        _remove(self.run)


def sweep(plugin_dir: Path) -> None:
    """Remove what hosts that are gone have left. Blocks."""
    with suppress(OSError):
        for path in (plugin_dir / _PRIVATE / "run").iterdir():
            mark = path.name.rpartition("-")[0]
            pid = mark.partition(".")[0]
            if pid.isdigit() and mark != _mark(int(pid)):
                _remove(path)


def _mark(pid: int) -> str:
    """Identify a process by its PID and start; a PID comes back, in a container always."""
    return f"{pid}.{start_time(pid)}"


def _read(path: Path) -> bytes:
    with open(path, "rb", opener=_open_at_once) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        content = file.read(_MAX_SECRET_BYTES + 1)
    if len(content) > _MAX_SECRET_BYTES:
        raise OSError(errno.EFBIG, f"larger than {_MAX_SECRET_BYTES} bytes")
    return content


def _open_at_once(path: str, flags: int) -> int:
    """Open without waiting: a pipe without a writer would hold up the host for ever."""
    return os.open(path, flags | os.O_NONBLOCK)


def _remove(directory: Path) -> None:
    """Remove a plugin's directory, also where the plugin has taken our rights to do so."""
    shutil.rmtree(directory, ignore_errors=True)
    if not directory.exists():
        return
    for path, _, _ in os.walk(directory):
        with suppress(OSError):
            Path(path).chmod(0o700)  # walk enters no symbolic links
    shutil.rmtree(directory, ignore_errors=True)
