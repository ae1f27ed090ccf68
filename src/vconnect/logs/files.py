"""Log files of plugins, rotated by size."""

# All of this runs in the writer's thread. A file is opened for each batch and closed after it, so
# no descriptor outlives a deleted file, a full disk or a plugin.

from __future__ import annotations

import errno
import logging
import os
import stat
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from vconnect.durable import make_directories

from .records import LogRecord
from .text import escape_controls

# Seconds for which a file is skipped after a failure, so that a full or dead disk costs at most one
# attempt per second and plugin.
RETRY_AFTER = 1.0

# Plugins may be able to write to the directory: a link is not followed (O_NOFOLLOW), and opening a
# pipe must not block (O_NONBLOCK).
_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_log = logging.getLogger(__name__)


class RotatingFile:
    """A set of files: ``NAME.log`` is the newest, then ``NAME.log.1`` and so on to the oldest.

    Args:
        path: The path of the newest file.
        max_bytes: The size at which a new file is started. A line is never split.
        max_files: How many files are kept, including the newest.
    """

    def __init__(self, path: Path, max_bytes: int, max_files: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._max_files = max_files
        self.written = 0  # complete lines written by the last `write`

    def write(self, lines: list[bytes]) -> None:
        """Append lines, which include their line ends.

        Raises:
            OSError: Only the first `written` lines were written.
        """
        self.written = 0
        position = 0
        while position < len(lines):
            fd, size = self._open()  # again for each round, because a rotation moves the file away
            try:
                until = self._fitting(lines, position, size)
                self._append(fd, b"".join(lines[position:until]))
            finally:
                os.close(fd)
            position = until
            if position < len(lines):
                self._rotate()

    def _open(self) -> tuple[int, int]:
        """Open the newest file, creating it if necessary, and return it with its size."""
        make_directories(self._path.parent)
        fd = os.open(self._path, _FLAGS, 0o600)
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise OSError(errno.EINVAL, "is not a regular file", str(self._path))
            size = found.st_size
            if size and os.pread(fd, 1, size - 1) != b"\n":
                # The disk was full, or a host was killed, in the middle of a line. Complete it, so
                # that the next line does not continue it.
                size += os.write(fd, b"\n")
        except BaseException:
            os.close(fd)
            raise
        return fd, size

    def _fitting(self, lines: list[bytes], position: int, size: int) -> int:
        """Return the index after the last line that fits; an empty file fits at least one."""
        for index in range(position, len(lines)):
            size += len(lines[index])
            if size > self._max_bytes and size != len(lines[index]):
                return index
        return len(lines)

    def _append(self, fd: int, data: bytes) -> None:
        done = 0
        try:
            while done < len(data):
                done += os.write(fd, data[done:])
        finally:
            # On an error too: the caller counts the lines that did not make it.
            self.written += data.count(b"\n", 0, done)

    def _rotate(self) -> None:
        names = [self._path, *(self._numbered(n) for n in range(1, self._max_files))]
        if len(names) == 1:  # nothing to move the only file to
            self._path.unlink(missing_ok=True)
        # From the oldest on, so that each rename finds its target free or worthless.
        for older, newer in zip(names[:0:-1], names[-2::-1], strict=True):
            if os.path.lexists(newer):  # after a failure a number may be missing
                newer.replace(older)

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


class LogFiles:
    """The log files of all plugins.

    A failure is reported once, and again when writing works again, with the number of lost lines.

    Args:
        directory: The directory, created on demand with mode 0700.
        max_bytes: The maximum size of a file.
        max_files: The maximum number of files per plugin.
        clock: Returns monotonic seconds.
    """

    def __init__(
        self,
        directory: Path,
        max_bytes: int,
        max_files: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._max_files = max_files
        self._clock = clock
        self._retry_at: dict[str, float] = {}  # monotonic; only plugins whose file fails
        self._lost = 0

    def write(self, batch: list[tuple[str, LogRecord]]) -> None:
        """Write records of any plugins, each with its plugin's name. Blocks. Never raises."""
        # One open and one write per plugin and batch, however the records are mixed.
        lines: dict[str, list[bytes]] = {}
        for plugin, record in batch:
            lines.setdefault(plugin, []).append(file_line(record))
        for plugin, own in lines.items():
            self._write_plugin(plugin, own)

    def _write_plugin(self, plugin: str, lines: list[bytes]) -> None:
        if self._clock() < self._retry_at.get(plugin, 0):
            self._lost += len(lines)
            return
        path = self._directory / f"{plugin}.log"
        file = RotatingFile(path, self._max_bytes, self._max_files)
        try:
            file.write(lines)
        except OSError as error:
            self._lost += len(lines) - file.written
            self._failed(plugin, path, error)
        else:
            self._succeeded(plugin)

    def _failed(self, plugin: str, path: Path, error: OSError) -> None:
        # One report for all plugins: what fails is usually the disk that they share.
        if not self._retry_at:
            _log.warning(
                "log file %s cannot be written: %s; plugins continue, and their output is still "
                "kept in memory and in this log",
                error.filename or path,
                (error.strerror or str(error)).lower(),
            )
        self._retry_at[plugin] = self._clock() + RETRY_AFTER

    def _succeeded(self, plugin: str) -> None:
        if self._retry_at.pop(plugin, None) is not None and not self._retry_at:
            _log.warning(
                "writing log files in %s again; %d lines are missing",
                self._directory,
                self._lost,
            )
            self._lost = 0


def file_line(record: LogRecord) -> bytes:
    """Format a record for a file: time in UTC, level, stream, text and fields."""
    moment = datetime.fromtimestamp(record.time, UTC).isoformat(timespec="milliseconds")
    text = escape_controls(record.line())
    # isoformat() ends in "+00:00", for which Z is the short form.
    line = f"{moment[:-6]}Z {record.level.upper():<5} {record.stream:<6} {text}\n"
    return line.encode("utf-8", "backslashreplace")
