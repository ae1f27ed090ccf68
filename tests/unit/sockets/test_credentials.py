"""The process at the other end of a socket."""

from __future__ import annotations

import os
import socket

from vconnect.sockets.credentials import Peer, peer_on


def test_the_kernel_says_who_it_is() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert peer_on(ours) == Peer(os.getpid(), os.geteuid())
