"""What plugins print: cut into lines, kept at the end, passed to the host's log in measure."""

from __future__ import annotations

import logging
import re
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

MAX_LINE_BYTES = 16 * 1024
KEPT_LINES = 50
_PLUGIN_LOGGERS = "vconnect.plugin."
_COLORS = {logging.DEBUG: 2, logging.WARNING: 33, logging.ERROR: 31, logging.CRITICAL: 31}
LINES_PER_SECOND = 1000

# Terminal escapes and other control characters; a tab is harmless.
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0a-\x1f\x7f-\x9f]")


class LineSplitter:
    """Cuts a byte stream into lines; one that is too long is cut where the limit falls."""

    def __init__(self, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._max = max_line_bytes
        self._partial = b""

    def feed(self, data: bytes) -> list[str]:
        """Take bytes and return the lines that they complete, without their ends."""
        pieces = (self._partial + data).split(b"\n")
        self._partial = pieces.pop()
        lines = [line for piece in pieces for line in self._cut(piece)]
        while len(self._partial) > self._max:
            lines.append(_decode(self._partial[: self._max]))
            self._partial = self._partial[self._max :]
        return lines

    def finish(self) -> list[str]:
        """Return what stands after the last line's end."""
        rest, self._partial = self._partial, b""
        return [_decode(rest)] if rest else []

    def _cut(self, piece: bytes) -> list[str]:
        starts = range(0, max(len(piece), 1), self._max)
        return [_decode(piece[start : start + self._max]) for start in starts]


class PluginLog:
    """One plugin's output: into the host's log line by line, its last lines kept.

    A plugin that floods is written down for a thousand lines a second; the rest is counted, and
    the count is told.

    Args:
        plugin: Names the logger, ``vconnect.plugin.NAME``.
    """

    def __init__(self, plugin: str) -> None:
        self.last_stderr: deque[str] = deque(maxlen=KEPT_LINES)
        self.suppressed = 0
        self._log = logging.getLogger(_PLUGIN_LOGGERS + plugin)
        self._splitters = {"stdout": LineSplitter(), "stderr": LineSplitter()}
        self._second = 0
        self._lines = 0
        self._untold = 0

    def feed(self, stream: str, data: bytes) -> None:
        """Take bytes of ``stdout`` or ``stderr``."""
        self._write(stream, self._splitters[stream].feed(data))

    def say(self, level: int, message: str, fields: Mapping[str, Any]) -> None:
        """Take a record that the plugin made itself, with its level and fields."""
        if self._may_pass():
            extra = " ".join(f"{key}={value}" for key, value in fields.items())
            line = f"{message} {extra}" if extra else message
            self._log.log(level, "%s", _decode(line[:MAX_LINE_BYTES].encode("utf-8", "replace")))

    def finish(self) -> None:
        """Take what was not ended by a line's end, and tell what was suppressed."""
        for stream, splitter in self._splitters.items():
            self._write(stream, splitter.finish())
        self._tell_suppressed()

    def _write(self, stream: str, lines: list[str]) -> None:
        for line in lines:
            if stream == "stderr":
                self.last_stderr.append(line)
            if self._may_pass():
                self._log.info("%s", line)

    def _may_pass(self) -> bool:
        second = int(time.monotonic())
        if second != self._second:
            self._second = second
            self._lines = 0
            self._tell_suppressed()
        self._lines += 1
        if self._lines <= LINES_PER_SECOND:
            return True
        self.suppressed += 1
        self._untold += 1
        return False

    def _tell_suppressed(self) -> None:
        if self._untold:
            self._log.warning(
                "%d lines suppressed: more than %d in a second", self._untold, LINES_PER_SECOND
            )
            self._untold = 0


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
        _, is_plugin, plugin = record.name.partition(_PLUGIN_LOGGERS)
        message = f"[{plugin}] {record.message}" if is_plugin else record.message
        record.message = _CONTROL.sub(_escape, message)
        return super().formatMessage(record)

    def _level(self, record: logging.LogRecord) -> str:
        name = f"{record.levelname:<7}"
        color = _COLORS.get(record.levelno) if self._colored else None
        return f"\x1b[{color}m{name}\x1b[0m" if color else name


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")


def _decode(line: bytes) -> str:
    """Decode for people: no line may steer a terminal or break the log's own lines."""
    return _CONTROL.sub("", line.decode("utf-8", "replace").rstrip("\r"))
