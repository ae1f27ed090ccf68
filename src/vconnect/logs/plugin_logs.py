"""The logs of all plugins, and the one thread that writes their files."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from vconnect.names import LogLevel
from vconnect.settings.parts import LogSettings

from .files import LogFiles
from .plugin_log import PluginLog
from .records import LogRecord
from .ring import size_of
from .writer import LogWriter

# Seconds that `close` waits for queued records. A dead disk must not block the host's exit.
_CLOSE_TIMEOUT = 2.0


class PluginLogs:
    """Creates and keeps plugins' logs by name, so that they outlive processes and restarts.

    Args:
        settings: How much is kept, and where files are written.
        on_state: Called with a plugin, and a level and text of the host about it.
    """

    def __init__(
        self,
        settings: LogSettings,
        on_state: Callable[[str, LogLevel, str], None] = lambda *_: None,
    ) -> None:
        self._on_state = on_state
        self._settings = settings
        self._logs: dict[str, PluginLog] = {}
        self._writer: LogWriter[tuple[str, LogRecord]] | None = None
        if settings.log_dir is not None:
            files = LogFiles(
                Path(settings.log_dir),
                settings.log_file_bytes,
                settings.log_files,
            )
            self._writer = LogWriter("plugin logs", files.write)

    def of(self, plugin: str) -> PluginLog:
        """Return the log of ``plugin`` (canonical name), creating it on first use."""
        log = self._logs.get(plugin)
        if log is None:
            file = None if self._writer is None else self._to_file
            log = self._logs[plugin] = PluginLog(plugin, self._settings, file)
            log.on_state = self._on_state
        return log

    def follow(self, lines_per_second: int, bytes_per_second: int) -> None:
        """Let other amounts of output pass from now on."""
        for log in self._logs.values():
            log.follow(lines_per_second, bytes_per_second)

    def forget(self, plugin: str) -> None:
        """Forget a plugin that is gone. Its files remain."""
        self._logs.pop(plugin, None)

    async def close(self) -> None:
        """Write what is queued and end the thread, within `_CLOSE_TIMEOUT` seconds."""
        # What was suppressed last has not been reported yet.
        for log in self._logs.values():
            log.tell_suppressed(at_once=True)
        if self._writer is None:
            return
        self._writer.stop()
        until = time.monotonic() + _CLOSE_TIMEOUT
        while self._writer.is_running and time.monotonic() < until:
            await asyncio.sleep(0.002)  # join() would block the loop

    def _to_file(self, plugin: str, record: LogRecord) -> bool:
        assert self._writer is not None, "called only if there is one"
        return self._writer.put((plugin, record), size_of(record))
