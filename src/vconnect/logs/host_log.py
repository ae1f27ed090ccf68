"""The host's own log: one line per record, written behind a thread."""

from __future__ import annotations

import logging
import os
import select

from .text import escape_controls
from .writer import LogWriter

PLUGIN_LOGGERS = "vconnect.plugin."

# What a terminal that is read again may need for what is queued. Seconds.
FLUSH_TIMEOUT = 2.0

_COLORS = {logging.DEBUG: 2, logging.WARNING: 33, logging.ERROR: 31, logging.CRITICAL: 31}


class HostFormatter(logging.Formatter):
    """One line per record: time, level, then a plugin's name before what it printed.

    Names, reasons and output come from plugins: control characters are shown as escapes, so that
    none of them steers the operator's terminal or begins a line of its own.

    Args:
        colored: Color the level, for a terminal.
    """

    def __init__(self, *, colored: bool) -> None:
        super().__init__("%(asctime)s.%(msecs)03d %(shown_level)s %(message)s", "%Y-%m-%d %H:%M:%S")
        self._colored = colored

    def format(self, record: logging.LogRecord) -> str:
        """Render the record; a traceback follows on lines of its own."""
        record.shown_level = self._level(record)
        return super().format(record)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Render the record's line, which is never more than one."""
        _, is_plugin, plugin = record.name.partition(PLUGIN_LOGGERS)
        message = f"[{plugin}] {record.message}" if is_plugin else record.message
        record.message = escape_controls(message)
        return super().formatMessage(record)

    def _level(self, record: logging.LogRecord) -> str:
        name = f"{record.levelname:<7}"
        color = _COLORS.get(record.levelno) if self._colored else None
        return f"\x1b[{color}m{name}\x1b[0m" if color else name


class HostHandler(logging.Handler):
    """Writes to a descriptor without ever waiting for whoever reads it.

    A terminal that is stopped or a pager that is paused takes nothing, perhaps for hours. What
    comes meanwhile is queued up to a bound; what is past it is dropped, and the count is told.

    Args:
        fd: Where to write; it stays open.
    """

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd
        self._dropped = 0
        self._writer: LogWriter[bytes] = LogWriter("host log", self._write)

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the record's lines."""
        try:
            data = (self.format(record) + "\n").encode("utf-8", "backslashreplace")
        except Exception:  # noqa: BLE001 - as logging's own handlers: reported, and it goes on
            self.handleError(record)
            return
        if self._dropped:
            data = self._notice() + data
        if self._writer.put(data, len(data)):
            self._dropped = 0
        else:
            self._dropped += 1

    def close(self) -> None:
        """Write what is queued, if it is read within `FLUSH_TIMEOUT`."""
        self._writer.stop(self._notice() if self._dropped else None)
        self._writer.join(FLUSH_TIMEOUT)
        super().close()

    def _notice(self) -> bytes:
        return b"... %d lines of this log dropped: nobody read it\n" % self._dropped

    def _write(self, batch: list[bytes]) -> None:
        try:
            _write_all(self._fd, b"".join(batch))
        except OSError:  # nobody reads any more, or the disk is full: it may be better next time
            assert self.lock is not None, "every handler has one"
            with self.lock:  # `emit` runs under it
                self._dropped += len(batch)


def _write_all(fd: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:  # somebody who shares the descriptor has made it so
            select.select([], [fd], [], 1.0)
