"""SIGHUP while a host is being started: it is remembered until the host can reload."""

# This is imported before anything else of the host, so that it imports nothing.

from __future__ import annotations

import signal


class EarlyHangUp:
    """Remembers a SIGHUP, which would end the process otherwise.

    Attributes:
        is_heard: Whether there was one.
    """

    def __init__(self) -> None:
        self.is_heard = False

    def listen(self) -> None:
        """Begin to listen, unless the signal is ignored: nohup expects that to stay so."""
        if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
            signal.signal(signal.SIGHUP, self._hear)

    def _hear(self, *_: object) -> None:
        self.is_heard = True
