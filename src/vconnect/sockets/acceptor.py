"""Accepts the connections of a listening socket, even if no descriptor is left for them."""

# The loops' own servers do two things at the limit on descriptors: uvloop accepts and closes each
# client without a word, and asyncio writes a line for each attempt, a megabyte a second. Here one
# descriptor is kept in reserve. With it a client is let in, told why it cannot stay, and let out.
#
# A connection costs the loop a tenth of a millisecond before its process is identified. So after a
# burst, such as the start of all plugins, connections are accepted at a limited rate. A process
# that exceeds its own rate is turned away at a tenth of the cost. Otherwise its connections would
# fill the kernel's queue, and those of others would wait behind them or not even be queued.

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import time
from collections.abc import Callable
from contextlib import suppress

from vconnect.descriptors import Reserve, none_left

from .credentials import peer_on
from .pace import Pace, PaceOfEach, session_of

# No descriptor or no memory for another connection, in this process or on the machine.
_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
# A client that is turned away is answered once it has sent something, or after this long: closing
# earlier would lose the answer of one that is still writing. Seconds.
_LONGEST_VISIT_S = 1.0
# Without a reserve there is nothing to do but wait. Seconds.
_PAUSE_S = 1.0
_WARN_EVERY_S = 60.0
_READ_BYTES = 64 * 1024
# The burst, and the seconds per further connection.
_BURST = 64
_EVERY_S = 0.001

_log = logging.getLogger(__name__)


class Acceptor:
    """Makes a connection of everyone who connects to a socket.

    Args:
        listening: The listening socket. `close` closes it.
        new_protocol: Creates the protocol of a connection.
        farewell: Returns what a client is told that cannot be served, from the reason in words.
        name: What the socket is called in the log.
        pace_of_each: Limits the rate of each process; by default there is no such limit.
    """

    def __init__(
        self,
        listening: socket.socket,
        new_protocol: Callable[[], asyncio.BaseProtocol],
        farewell: Callable[[str], bytes],
        name: str,
        *,
        pace_of_each: PaceOfEach | None = None,
    ) -> None:
        self._listening = listening
        self._new_protocol = new_protocol
        self._farewell = farewell
        self._name = name
        self._loop = asyncio.get_running_loop()
        self._reserve = Reserve()
        self._connecting: set[asyncio.Task[None]] = set()
        # Whoever is being turned away, with the descriptor that was in reserve.
        self._visitor: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._warned = -_WARN_EVERY_S
        self._turned_away = -_WARN_EVERY_S
        self._pace = Pace(_BURST, 1 / _EVERY_S)
        self._pace_of_each = pace_of_each
        listening.setblocking(False)
        self._loop.add_reader(listening.fileno(), self._accept)

    def close(self) -> None:
        """Stop listening. Connections go on, and so do those that are just being made."""
        if self._listening.fileno() >= 0:
            self._loop.remove_reader(self._listening.fileno())
            self._listening.close()
        self._let_out()
        self._reserve.release()

    async def settle(self) -> None:
        """Wait until no connection is being made any more, after `close`.

        They are not cancelled: the loop may have told the protocol of its transport already, and
        would never tell it of an end.
        """
        if self._connecting:
            await asyncio.wait(self._connecting)

    def _accept(self) -> None:
        """Accept one connection per iteration of the loop: the others are served in between."""
        try:
            connection, _ = self._listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:
            if error.errno not in _SHORTAGES:
                raise
            self._turn_away(error)
            return
        connection.setblocking(False)
        if self._pace_of_each is not None and not self._is_in_pace(connection, self._pace_of_each):
            return
        task = self._loop.create_task(self._connect(connection), name="vconnect connection")
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
        self._pace.take()
        if self._pace.is_used_up():
            self._loop.remove_reader(self._listening.fileno())
            self._timer = self._loop.call_later(_EVERY_S, self._go_on)

    def _is_in_pace(self, connection: socket.socket, pace: PaceOfEach) -> bool:
        """Turn a connection away if its process has made too many; return whether it stays."""
        try:
            pid = peer_on(connection).pid
        except OSError:  # already gone
            connection.close()
            return False
        if pace.take(session_of(pid)):
            return True
        words = f"PID {pid} connects too often; {pace.allowed}"
        with connection, suppress(OSError):
            connection.send(self._farewell(words))
        now = time.monotonic()
        if now - self._turned_away >= _WARN_EVERY_S:
            self._turned_away = now
            _log.warning("connections to %s are refused: %s", self._name, words)
        return False

    async def _connect(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._new_protocol, connection)
        except OSError as error:
            _log.debug("a connection to %s ended at once: %s", self._name, error)
            connection.close()

    # Without a descriptor.

    def _turn_away(self, error: OSError) -> None:
        """Let a client in with the descriptor in reserve, and accept no others meanwhile."""
        self._warn(error)
        self._loop.remove_reader(self._listening.fileno())
        self._reserve.release()
        with suppress(OSError):  # another thread was faster, or the client has gone
            self._visitor, _ = self._listening.accept()
        pause = _PAUSE_S
        if self._visitor is not None:
            self._visitor.setblocking(False)
            self._loop.add_reader(self._visitor.fileno(), self._go_on)
            pause = _LONGEST_VISIT_S
        self._timer = self._loop.call_later(pause, self._go_on)

    def _go_on(self) -> None:
        """Answer the client that is turned away, and accept again."""
        self._let_out()
        self._reserve.refill()
        self._loop.add_reader(self._listening.fileno(), self._accept)

    def _let_out(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        visitor, self._visitor = self._visitor, None
        if visitor is None:
            return
        self._loop.remove_reader(visitor.fileno())
        with visitor, suppress(OSError):
            visitor.send(self._farewell(none_left()))
            # What is closed unread would reset the connection, and the answer might be lost.
            while visitor.recv(_READ_BYTES):
                pass

    def _warn(self, error: OSError) -> None:
        now = time.monotonic()
        if now - self._warned >= _WARN_EVERY_S:
            self._warned = now
            _log.warning(
                "connections to %s are refused: %s; %s", self._name, error.strerror, none_left()
            )
