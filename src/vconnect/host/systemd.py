"""Notifications for systemd, and the socket that systemd may have opened."""

# These are plain datagrams and descriptors, see sd_notify(3) and sd_listen_fds(3). Without systemd,
# nothing here has any effect.

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping

_log = logging.getLogger(__name__)

# The first descriptor that a service manager passes (SD_LISTEN_FDS_START).
_FIRST_FD = 3


class Notifier:
    """Notifies the service manager.

    Args:
        environ: The environment: ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID``.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        self._interval = _watchdog_interval(environ)

    @property
    def watchdog_interval(self) -> float | None:
        """Seconds between the watchdog notifications that the service manager expects, if any."""
        return self._interval if self._address else None

    def tell(self, *fields: str) -> None:
        """Send fields such as ``READY=1``. A failure is only logged."""
        if not self._address:
            return
        # A leading @ stands for the zero byte of an abstract socket address.
        address = self._address.replace("@", "\0", 1)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                # A service manager that does not read must not block the host.
                sender.setblocking(False)
                sender.sendto("\n".join(fields).encode(), address)
        except OSError as error:
            _log.warning("cannot notify systemd of %s: %s", ", ".join(fields), error)


def activated_socket(environ: Mapping[str, str], pid: int) -> socket.socket | None:
    """Return the Unix socket that systemd has opened for us (``LISTEN_FDS``), or ``None``.

    Args:
        environ: The environment: ``LISTEN_PID`` and ``LISTEN_FDS``.
        pid: Our PID; descriptors for another process are left alone.
    """
    if environ.get("LISTEN_PID") != str(pid) or not environ.get("LISTEN_FDS", "").isdecimal():
        return None
    # All of them, even those that are not used: plugins must not inherit any.
    for fd in range(_FIRST_FD, _FIRST_FD + int(environ["LISTEN_FDS"])):
        os.set_inheritable(fd, False)
    for fd in range(_FIRST_FD, _FIRST_FD + int(environ["LISTEN_FDS"])):
        found = socket.socket(fileno=fd)
        # The unit may pass other sockets too, such as those of the application.
        if found.family == socket.AF_UNIX and found.type == socket.SOCK_STREAM:
            found.setblocking(False)
            return found
        found.detach()  # not ours: leave it open, without closing it on garbage collection
    return None


def _watchdog_interval(environ: Mapping[str, str]) -> float | None:
    """Return half of the period that systemd allows, as sd_watchdog_enabled(3) recommends."""
    period = environ.get("WATCHDOG_USEC", "")
    # Without WATCHDOG_PID, any process of the service may send the notification.
    meant_for_us = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return int(period) / 2e6 if period.isdecimal() and int(period) and meant_for_us else None
