"""The host's own log: one line per record, written by a thread."""

from __future__ import annotations

import json
import logging
import os
import select
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

from .records import LogRecord
from .text import escape_controls
from .writer import LogWriter

PLUGIN_LOGGERS = "vconnect.plugin."

# Seconds that `close` waits for queued lines to be read. A paused terminal would block the exit.
FLUSH_TIMEOUT = 2.0

# ANSI colors: 2 is dim, 31 red, 33 yellow. Ordinary lines stay plain.
_COLORS = {logging.DEBUG: 2, logging.WARNING: 33, logging.ERROR: 31, logging.CRITICAL: 31}


_LEVEL_WORDS = {
    logging.DEBUG: "debug",
    logging.INFO: "info",
    logging.WARNING: "warn",
    logging.ERROR: "error",
    logging.CRITICAL: "error",
}

#: How the host's log is written: lines for people, or JSON.
LogFormat: TypeAlias = Literal["text", "json"]


class HostFormatter(logging.Formatter):
    """Formats a record as one line: time, level, and the plugin's name before its output.

    Names, reasons and output come from plugins. Control characters are therefore shown as escapes,
    so that none can steer the operator's terminal or start a new line.

    Args:
        colored: Color the level, for a terminal.
    """

    def __init__(self, *, colored: bool) -> None:
        super().__init__("%(asctime)s.%(msecs)03d %(shown_level)s %(message)s", "%Y-%m-%d %H:%M:%S")
        self._colored = colored

    def format(self, record: logging.LogRecord) -> str:
        """Format the record. A traceback follows on separate lines."""
        record.shown_level = self._level(record)
        return super().format(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        """Format a traceback. An exception's text may quote what a plugin sent."""
        lines = super().formatException(ei).split("\n")
        return "\n".join(map(escape_controls, lines))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Format the record as exactly one line."""
        # The logger's name tells a plugin's output from the host's own messages.
        _, is_plugin, plugin = record.name.partition(PLUGIN_LOGGERS)
        message = f"[{plugin}] {record.message}" if is_plugin else record.message
        record.message = escape_controls(message)
        return super().formatMessage(record)

    def _level(self, record: logging.LogRecord) -> str:
        name = f"{record.levelname:<7}"
        color = _COLORS.get(record.levelno) if self._colored else None
        return f"\x1b[{color}m{name}\x1b[0m" if color else name


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON object on one line, for what collects logs.

    Its keys are ``time`` (RFC 3339, UTC), ``level``, ``message``, ``plugin`` (``null`` for what the
    host says itself), ``fields``, and with an exception ``exception``.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Format the record."""
        _, is_plugin, plugin = record.name.partition(PLUGIN_LOGGERS)
        moment = datetime.fromtimestamp(record.created, UTC)
        own: LogRecord | None = getattr(record, "plugin_record", None)
        line: dict[str, Any] = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": _LEVEL_WORDS.get(record.levelno, "info"),
            "message": own.text if own is not None else record.getMessage(),
            "plugin": plugin if is_plugin else None,
            "fields": own.fields if own is not None else {},
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        # Escapes everything beyond ASCII: no terminal that shows the log is steered by it.
        return json.dumps(line, default=str)


class HostHandler(logging.Handler):
    """Writes to a descriptor without ever waiting for its reader.

    A stopped terminal or a paused pager reads nothing, perhaps for hours. Meanwhile lines are
    queued up to a limit; lines beyond it are dropped, and their number is reported.

    Args:
        fd: The descriptor, which is not closed.
    """

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd
        self._dropped = 0
        self._writer: LogWriter[bytes] = LogWriter("host log", self._write)

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the record's lines. Never blocks."""
        try:
            data = (self.format(record) + "\n").encode("utf-8", "backslashreplace")
        except Exception:  # noqa: BLE001 - as in logging's own handlers: report it and continue
            self.handleError(record)
            return
        # The notice shares the record's fate: if there is no room, both are counted next time.
        if self._dropped:
            data = self._notice() + data
        # `put` counts bytes, because a traceback may be as long as a thousand lines.
        if self._writer.put(data, len(data)):
            self._dropped = 0
        else:
            self._dropped += 1

    def close(self) -> None:
        """Write what is queued, as far as it is read within `FLUSH_TIMEOUT` seconds."""
        self._writer.stop(self._notice() if self._dropped else None)
        self._writer.join(FLUSH_TIMEOUT)
        super().close()

    def _notice(self) -> bytes:
        return b"... %d lines of this log dropped: its reader was too slow\n" % self._dropped

    def _write(self, batch: list[bytes]) -> None:
        try:
            _write_all(self._fd, b"".join(batch))
        except OSError:  # the reader is gone or the disk is full; the next attempt may succeed
            assert self.lock is not None, "every handler has one"
            with self.lock:  # `emit` runs under it
                self._dropped += len(batch)


def _write_all(fd: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:  # another process that shares the descriptor made it non-blocking
            select.select([], [fd], [], 1.0)  # then write again, whatever it returned
