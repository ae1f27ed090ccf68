"""What plugins print, and how the host writes it down.

``pipes`` reads what a plugin's process writes, ``lines`` cuts it, ``records`` finds out what a
line says, ``flood`` bounds how much of it passes, ``ring`` keeps the last of it, and ``plugin``
joins these. ``files`` and ``host`` write to disk and to the host's stderr, each behind a thread of
``writer``: the event loop never waits for a disk or a terminal.
"""

from __future__ import annotations

from .host import HostFormatter as HostFormatter
from .host import HostHandler as HostHandler
from .pipes import PluginOutput as PluginOutput
from .plugin import PluginLog as PluginLog
from .plugins import PluginLogs as PluginLogs
from .records import LogRecord as LogRecord
from .ring import LogPage as LogPage
