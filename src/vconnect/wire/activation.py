"""The listening socket that a service manager has opened (sd_listen_fds(3))."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

_FIRST_FD = 3


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
