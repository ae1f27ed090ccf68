"""A session: a connection after its handshake, with a dialect and the peer's identity."""

# The idea: three layers share one connection. The stream carries objects, the lane matches answers
# with events, and the session knows what they mean and who sent them.
#
# A session exists only after the gatekeeper has admitted the plugin, so there is no half-open state
# to test for. Its dialect never changes. Events do not pass through Python code of this module:
# `call`, `request`, `deliver` and `tell` are the lane's own compiled methods, bound once.
#
# `open` switches the lane to answers before it sends the acknowledgment, since a plugin may react
# to that at once. From then on exactly one report ends a session: `disconnected`, whether the peer
# closed, broke the protocol or was aborted. By then the lane has failed every call, so the owner
# can drop the session without looking after its callers; `lost_events` remains readable for the
# crash report.

from __future__ import annotations

import time
from asyncio import Future
from collections.abc import Callable
from typing import Any, Protocol

import msgspec
import orjson

from vconnect._framing import HEADER_BYTES, Event, encode_frame
from vconnect.sockets.credentials import Peer

from ._inflight import ByteBudget
from ._lane import Lane
from ._latency import Rows
from .messages import (
    CANCEL,
    Dialect,
    Handshake,
    encode_error,
    is_reserved,
    normalize_answer,
    reply_error,
)


class LaneLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one connection; see `vconnect.settings.model.Settings`."""

    window: int
    max_queued: int
    max_notified: int
    max_abandoned: int
    stuck_after: float
    max_frame_bytes: int
    max_answer_bytes: int = 4 * 1024 * 1024
    max_answer_values: int = 32_768
    max_answer_keys: int = 8192
    max_queued_bytes: int = 16 * 1024 * 1024


class LostEvent(msgspec.Struct, frozen=True):
    """An event that was in flight when its session ended.

    Attributes:
        was_handled: Whether the plugin may have been handling it, rather than having it wait behind
            others.
        event: Its name.
        payload: Its payload.
        frame: Its classic frame, whatever the session's dialect.
    """

    event: str
    payload: Any
    frame: bytes
    was_handled: bool = True


class SessionOwner(Protocol):
    """Is notified about a session."""

    def detached(self, session: Session, error: Exception | None) -> None:
        """Called once, when the session has ended."""

    def called(self, session: Session, payload: bytes) -> bool:
        """Called for each call of a native plugin to the host, before it is parsed.

        Returns:
            Whether it is accepted.
        """

    def held_loop(self, session: Session, seconds: float) -> None:
        """Called if what the plugin sent has held the event loop for so long."""

    def charged(self, session: Session, seconds: float) -> None:
        """Called for each long piece of unsolicited work that the plugin caused."""

    def became_ready(self, session: Session) -> None:
        """Called once, when a plugin says that it can serve after its handshake said otherwise."""


class Session:
    """One plugin's connection from its handshake to its end.

    Args:
        handshake: The plugin's handshake.
        peer: The plugin's process.
        lane: The connection, before its acknowledgment.
        limits: The limits for the lane.
        owner: Is notified of calls and of the end.
        total: What the events of all plugins together may hold, in bytes.
        rows: Where the durations of its events are recorded; by default nowhere.

    Attributes:
        dialect: The dialect agreed on in the handshake.
        subscriptions: Events, families and wildcards of which it is notified in addition to its
            capabilities.
        permissions: The calls that the manifest of the connected version asks for.
        interface: The interface that the connected version and the host have agreed on, or empty.
        is_ready: Whether the plugin can serve. It gets no events before.
        connected_at: When the session began, in Unix seconds.
        on_writable: Called when its calls can be served again, see `is_held`.
        why_gone: Returns how the plugin's process has ended, or empty.
        call: `Lane.call`; it and the following three are called for every event.
        request: `Lane.request`.
        deliver: `Lane.deliver`.
        tell: `Lane.tell`.
    """

    def __init__(
        self,
        handshake: Handshake,
        peer: Peer,
        lane: Lane,
        limits: LaneLimits,
        owner: SessionOwner,
        total: ByteBudget | None = None,
        rows: Rows | None = None,
    ) -> None:
        self.handshake = handshake
        self.peer = peer
        self.dialect = handshake.dialect
        self.subscriptions: tuple[str, ...] = ()
        self.permissions: tuple[str, ...] = ()
        self.interface = ""
        self.is_ready = handshake.is_ready
        self.connected_at = time.time()
        self.why_gone: Callable[[], str] = str
        self.on_writable: Callable[[], object] = str
        self._lane = lane
        self._limits = limits
        self._owner = owner
        self._total = total
        self._rows = rows
        self.call = lane.call
        self.request = lane.request
        self.deliver = lane.deliver
        self.tell = lane.tell

    def open(self, acknowledgment: bytes) -> None:
        """Acknowledge the handshake, and treat frames as answers from now on."""
        limits = self._limits
        self._lane.serve(
            self,
            self.handshake.plugin,
            window=limits.window,
            max_queued=limits.max_queued,
            max_notified=limits.max_notified,
            max_abandoned=limits.max_abandoned,
            stuck_after=limits.stuck_after,
            max_queued_bytes=limits.max_queued_bytes,
            total=self._total,
            max_frame_bytes=limits.max_frame_bytes,
            max_answer_bytes=limits.max_answer_bytes,
            max_values=limits.max_answer_values,
            max_keys=limits.max_answer_keys,
            read_data=self._read_data,
            native=self.is_native,
            rows=self._rows,
        )
        self._lane.send(acknowledgment)

    @property
    def is_native(self) -> bool:
        """Whether it speaks the native dialect."""
        return self.dialect is Dialect.NATIVE

    def send(self, message: dict[str, Any]) -> None:
        """Reply to a call.

        Raises:
            PayloadError: The message is not JSON, or too large.
        """
        self._lane.reply(encode_frame(message, self._limits.max_frame_bytes))

    def refuse(self, number: int, code: str, words: str) -> None:
        """Reply to a call with an error."""
        self._lane.reply(encode_error(number, code, words, self._limits.max_frame_bytes))

    def room(self, message: Event) -> Future[None]:
        """Return a future that is set once a notification finds room, or when the session ends."""
        return self._lane.room(message)

    def charge_call(self, size: int) -> None:
        """Hold so many bytes for a call of the plugin, until `release_call`.

        Raises:
            PluginOverloadedError: There is no room for them.
        """
        self._lane.charge_call(size)

    def release_call(self, size: int) -> None:
        """Hold them no longer; of a session that has ended, nothing is held."""
        self._lane.release_call(size)

    def read_call(self, payload: bytes) -> dict[str, Any] | None:
        """Parse a call of the plugin and charge it; return ``None`` if it cannot be read."""
        return self._lane.read_call(payload)

    def hold_calls(self, *, are_full: bool) -> None:
        """Stop reading from the plugin while its queue of calls is full, or resume."""
        self._lane.hold_calls(are_full)

    def charge_work(self, seconds: float) -> None:
        """Charge the plugin for processor time, in seconds."""
        self._lane.charge_work(seconds)

    def drop_cancelled(self) -> None:
        """Find calls that were cancelled by their callers, and inform a native plugin of them."""
        self._lane.sweep()

    def become_ready(self) -> None:
        """Record that the plugin can serve; saying so again changes nothing."""
        if not self.is_ready:
            self.is_ready = True
            self._owner.became_ready(self)

    def close(self) -> None:
        """Send what is collected, then close."""
        self._lane.close()

    def abort(self, error: Exception | None = None) -> None:
        """Close at once; calls in flight fail with ``error`` as the reason."""
        self._lane.abort(error)

    @property
    def in_flight(self) -> int:
        """The number of events sent and not yet answered."""
        return self._lane.in_flight

    @property
    def queued(self) -> int:
        """The number of events that wait for a slot in the window."""
        return self._lane.queued

    @property
    def max_queued(self) -> int:
        """The number of events that may wait."""
        return self._limits.max_queued

    @property
    def queued_bytes(self) -> int:
        """The bytes of the events that wait or are in flight, and of the plugin's calls."""
        return self._lane.queued_bytes

    @property
    def answered(self) -> int:
        """The number of events that the plugin has answered."""
        return self._lane.answered

    def lost_events(self) -> list[LostEvent]:
        """Return the events in flight at the session's end, without the host's own."""
        lost: list[LostEvent] = []
        # Without word of how many it handles at a time, a classic plugin is taken to read one event
        # after the other, and a native one to handle all that it has got.
        at_once = self.handshake.concurrency or (len(self._lane.lost) if self.is_native else 1)
        # Rare, at a crash: decoding the frames again is cheaper than keeping every payload decoded.
        for frame in self._lane.lost:
            message = orjson.loads(frame[HEADER_BYTES:])
            if not is_reserved(message["event"]):
                was_handled = len(lost) < at_once
                lost.append(LostEvent(message["event"], message["payload"], frame, was_handled))
        return lost

    @property
    def dropped(self) -> int:
        """The number of notifications that were dropped because the queue was full."""
        return self._lane.dropped

    @property
    def displaced(self) -> int:
        """How many of these had been queued."""
        return self._lane.displaced

    @property
    def late(self) -> int:
        """The number of answers that arrived after their caller had given up."""
        return self._lane.late

    @property
    def unasked(self) -> int:
        """The number of answers that belong to no event."""
        return self._lane.unasked

    # Called by the lane.

    def called(self, payload: bytes) -> bool:
        """Forward a call of the plugin; return whether it is accepted."""
        return self._owner.called(self, payload)

    def unread_call(self, number: int, error: Exception) -> None:
        """Refuse a call that is not strict JSON."""
        self.refuse(number, "bad_request", f"the call cannot be read: {error}")

    def end_reason(self) -> str:
        """Return why a connection has ended without an error, for the calls in flight."""
        return self.why_gone() or "its connection ended"

    def abandoned(self, number: int) -> None:
        """Inform a native plugin that its reply is no longer needed."""
        # A notification, which has no reply: whether it is heeded is up to the plugin.
        self._lane.send(encode_frame({"event": CANCEL, "payload": {"id": number}}))

    def held_loop(self, seconds: float) -> None:
        """Forward it."""
        self._owner.held_loop(self, seconds)

    def charged(self, seconds: float) -> None:
        """Forward it."""
        self._owner.charged(self, seconds)

    def writable(self) -> None:
        """Forward it to the owner of the queue of calls."""
        self.on_writable()

    def is_held(self) -> bool:
        """Return whether the plugin's calls have to wait.

        That is the case while it does not read its replies, or is over budget.
        """
        return self._lane.is_held()

    def disconnected(self, error: Exception | None) -> None:
        """Forward the end."""
        self._owner.detached(self, error)

    def _read_data(self, message: dict[str, Any]) -> Any:
        answer = normalize_answer(message)
        if answer.ok:
            return answer.data
        raise reply_error(self.handshake.plugin, answer)
