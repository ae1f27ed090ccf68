"""What systemd wants to hear, and the socket that it may have opened for us.

Plain datagrams and descriptors, as sd_notify(3) and sd_listen_fds(3) describe them; where systemd
has not started us, nothing here does anything.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping

_log = logging.getLogger(__name__)

# The first descriptor that a service manager hands over (SD_LISTEN_FDS_START).
_FIRST_FD = 3


class Notifier:
    """Tells the service manager where we are.

    Args:
        environ: ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` are read.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        self._interval = _watchdog_interval(environ)

    @property
    def watchdog_interval(self) -> float | None:
        """Seconds between the signs of life that the service manager waits for, or ``None``."""
        return self._interval if self._address else None

    def tell(self, *fields: str) -> None:
        """Send fields such as ``READY=1``; what goes wrong is logged, and stops nothing."""
        if not self._address:
            return
        # A leading @ stands for the zero byte of an abstract address.
        address = self._address.replace("@", "\0", 1)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                sender.sendto("\n".join(fields).encode(), address)
        except OSError as error:
            _log.warning("cannot tell systemd %s: %s", ", ".join(fields), error)


def activated_socket(environ: Mapping[str, str], pid: int) -> socket.socket | None:
    """Return the Unix socket that systemd listens on for us (``LISTEN_FDS``), if there is one.

    Args:
        environ: ``LISTEN_PID`` and ``LISTEN_FDS`` are read.
        pid: Ours; descriptors that were meant for another process are left alone.
    """
    if environ.get("LISTEN_PID") != str(pid) or not environ.get("LISTEN_FDS", "").isdecimal():
        return None
    for fd in range(_FIRST_FD, _FIRST_FD + int(environ["LISTEN_FDS"])):
        os.set_inheritable(fd, False)
    for fd in range(_FIRST_FD, _FIRST_FD + int(environ["LISTEN_FDS"])):
        found = socket.socket(fileno=fd)
        if found.family == socket.AF_UNIX and found.type == socket.SOCK_STREAM:
            found.setblocking(False)
            return found
        found.detach()
    return None


def _watchdog_interval(environ: Mapping[str, str]) -> float | None:
    """Half of what systemd allows, as its manual advises."""
    period = environ.get("WATCHDOG_USEC", "")
    meant_for_us = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return int(period) / 2e6 if period.isdecimal() and int(period) and meant_for_us else None
