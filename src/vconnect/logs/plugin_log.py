"""One plugin's log: what passes goes to the ring buffer, the host's log and a file."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any, get_args

import msgspec

from vconnect.names import LOG_LEVELS, LogLevel
from vconnect.settings.model import Settings
from vconnect.settings.parts import LogSettings

from .flood import FloodControl
from .host_log import PLUGIN_LOGGERS
from .records import Content, LineParser, LogRecord, Stream, from_call
from .ring import LogRing
from .text import escape_controls

# Apart from the output, which is numbered without gaps, and which a flood may push out.
_KEPT_STATES = 200

# Seconds between reports of suppressed lines, which must not become a flood themselves.
_TELL_EVERY = 1.0


class PluginLog:
    """A plugin's output, from any of its processes and from its native log calls.

    Args:
        plugin: The plugin's canonical name; the logger is ``vconnect.plugin.NAME``.
        settings: The ``log_`` keys: how much is kept, and how much may pass.
        file: Queues a record for a file, and returns whether there was room; by default there is
            no file.
        clock: Returns monotonic seconds.

    Attributes:
        ring: The newest records of its output.
        states: The newest records of the host about the plugin: its starts, its ends.
        whole: Both in the order in which they came, with numbers of its own.
        suppressed: How many lines did not pass, or did not make it into the file.
        kept: How many passed, by level.
        on_state: Called with what the host says about the plugin.
    """

    def __init__(
        self,
        plugin: str,
        settings: LogSettings | None = None,
        file: Callable[[str, LogRecord], bool] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        settings = settings or Settings().part(LogSettings)
        self.ring = LogRing(settings.log_lines)
        self.states = LogRing(_KEPT_STATES)
        self.whole = LogRing(settings.log_lines)
        self.suppressed = 0
        self.kept: dict[LogLevel, int] = dict.fromkeys(get_args(LogLevel), 0)
        self.on_state: Callable[[str, LogLevel, str], None] = _nobody_listens
        self._plugin = plugin
        self._log = logging.getLogger(PLUGIN_LOGGERS + plugin)
        self._file = file
        self._clock = clock
        self._flood = FloodControl(
            settings.log_lines_per_second, settings.log_bytes_per_second, clock
        )
        self._parsers: defaultdict[Stream, LineParser] = defaultdict(LineParser)
        self._untold = 0
        self._unfiled = 0
        self._told_at = clock() - _TELL_EVERY

    def follow(self, lines_per_second: int, bytes_per_second: int) -> None:
        """Let other amounts of output pass from now on."""
        self._flood.follow(lines_per_second, bytes_per_second)

    def room(self) -> int:
        """Return how many lines may pass now."""
        return self._flood.room()

    def write(self, stream: Stream, lines: list[bytes], skipped: int = 0) -> None:
        """Process lines, no more than `room` allowed, and the number of suppressed ones."""
        now, parser = time.time(), self._parsers[stream]
        for line in lines:
            # With the line's end, which was read as well.
            self._flood.take(len(line) + 1)
            self._pass(stream, parser.parse(line), now)
        self._suppress(skipped)

    def write_last(self, stream: Stream, lines: list[bytes]) -> None:
        """Process a process's last lines, which were counted as suppressed, outside of the limits.

        The caller sees to it that they are few.
        """
        self.suppressed -= len(lines)
        self._untold = max(self._untold - len(lines), 0)
        self.tell_suppressed(at_once=True)  # of what came before these
        now, parser = time.time(), LineParser()
        for line in lines:
            self._pass(stream, parser.parse(line), now)

    def say(self, level: str, message: str, fields: Mapping[str, Any]) -> None:
        """Process a record that the plugin sent as a call, with a level in any spelling."""
        if not self._flood.room():
            self._suppress(1)
            return
        content = from_call(level, message, fields)
        self._flood.take(len(content.text) + len(content.fields_json))
        self._pass("log", content, time.time())

    def note(self, level: LogLevel, text: str) -> None:
        """Keep a line of the host about the plugin's state, which the host's own log has already.

        It is outside of the limits: the caller sees to it that there are few.
        """
        self._keep(self.states, "state", Content(level, text), time.time())
        self.on_state(self._plugin, level, text)

    def tell_suppressed(self, *, at_once: bool = False) -> None:
        """Report how many lines were suppressed since the last report, at most once a second."""
        if not self._untold or not (at_once or self._clock() - self._told_at >= _TELL_EVERY):
            return
        count, self._untold = self._untold, 0
        self._told_at = self._clock()
        flood = self._flood
        text = (
            f"{count} lines suppressed; the limit is {flood.lines_per_second} lines and "
            f"{flood.bytes_per_second} bytes per second"
        )
        # Outside of the limits: it is at most one line per second.
        self._pass("host", Content("warn", text), time.time())

    def _suppress(self, count: int) -> None:
        self.suppressed += count
        self._untold += count
        self.tell_suppressed()

    def _pass(self, stream: Stream, content: Content, now: float) -> None:
        self.kept[content.level] += 1
        self._log_on(self._keep(self.ring, stream, content, now))

    def _keep(self, ring: LogRing, stream: Stream, content: Content, now: float) -> LogRecord:
        record = LogRecord(
            ring.last + 1, now, stream, content.level, content.text, content.fields_json
        )
        # The ring first, because it cannot fail and has no limits but its own.
        ring.append(record)
        of_host = stream == "state"
        self.whole.append(
            msgspec.structs.replace(
                record, seq=self.whole.last + 1, stream="host" if of_host else stream
            )
        )
        if self._file is not None:
            self._to_file(self._file, record)
        return record

    def _to_file(self, file: Callable[[str, LogRecord], bool], record: LogRecord) -> None:
        """Queue a record for the file, after a notice if earlier ones found no room."""
        if self._unfiled:
            text = f"{self._unfiled} lines are missing here: the disk was too slow"
            notice = LogRecord(record.seq, record.time, "host", "warn", text)
            self._unfiled = 0 if file(self._plugin, notice) else self._unfiled
        if not file(self._plugin, record):
            self._unfiled += 1
            self.suppressed += 1

    def _log_on(self, record: LogRecord) -> None:
        """Pass a record to the host's log, without logging's search for a calling function."""
        # logging has no level "trace", and a level below DEBUG would need its own configuration.
        level = max(LOG_LEVELS[record.level], logging.DEBUG)
        if self._log.isEnabledFor(level):
            # An application's handler may write a line end as it is: another plugin's line.
            line = escape_controls(record.line())
            made = self._log.makeRecord(self._log.name, level, "", 0, "%s", (line,), None)
            # For a log in JSON, which has text and fields apart.
            made.plugin_record = record
            self._log.handle(made)


def _nobody_listens(_: str, __: LogLevel, ___: str) -> None:
    """Do nothing."""
