"""A private socket that is accepted from, and bound again if its file disappears."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from contextlib import suppress

from vconnect.errors import SocketError

from .acceptor import Acceptor
from .private_socket import PrivateSocket

# How often the socket's file is checked. Plugins that find no socket try again, so a second is
# enough.
_WATCH_SECONDS = 1.0

_log = logging.getLogger(__name__)


class Listener:
    """Accepts connections until it is closed.

    Create it in a running event loop.

    Args:
        private: The socket. Its owner closes it, after this.
        listen: Makes an acceptor of a listening socket.
    """

    def __init__(self, private: PrivateSocket, listen: Callable[[socket.socket], Acceptor]) -> None:
        self._private = private
        self._listen = listen
        self._acceptor = listen(private.socket)
        self._watch = asyncio.create_task(self._keep_bound(), name="vconnect socket")

    async def close(self) -> None:
        """Accept no more. Connections go on."""
        self._watch.cancel()
        with suppress(asyncio.CancelledError):
            await self._watch
        self._acceptor.close()
        await self._acceptor.settle()

    async def _keep_bound(self) -> None:
        """Bind the socket again within seconds if its file disappears.

        Existing connections continue: they do not need the file.
        """
        problem = ""
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            if self._private.is_intact():
                self._keep_open()
                continue
            try:
                bound = self._private.rebind()
            except SocketError as error:
                # Reported once for each reason, not once a second.
                if str(error) != problem:
                    problem = str(error)
                    _log.error("socket file lost and not restored: %s", error)
                continue
            problem = ""
            previous, self._acceptor = self._acceptor, self._listen(bound)
            previous.close()
            _log.warning("socket file %s had disappeared; bound it again", self._private.path)

    def _keep_open(self) -> None:
        """Let plugins connect again if one of them has changed the socket's mode."""
        with suppress(OSError):  # it has disappeared just now, which the next look tells
            if self._private.restore_mode():
                _log.warning("the mode of %s kept plugins out; restored it", self._private.path)
