"""A dispatcher with plugins that are real sessions, each with its peer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from tests.support.wire_kit import Owner, connected
from tests.support.wire_kit import Peer as WirePeer

from vconnect.dispatch.dispatcher import Dispatcher
from vconnect.plugins.registry import Registry
from vconnect.plugins.runtime import PluginRuntime
from vconnect.settings.model import Settings
from vconnect.sockets.credentials import Peer
from vconnect.wire._lane import Lane
from vconnect.wire._stream import ReadBuffer
from vconnect.wire.messages import Handshake
from vconnect.wire.session import LaneLimits, Session

LIMITS = LaneLimits(
    window=8,
    max_queued=2,
    max_notified=2,
    max_abandoned=8,
    stuck_after=30.0,
    max_frame_bytes=1 << 20,
)


class SessionOwner:
    """Tells the stream's owner of the session's end."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner

    def detached(self, session: Session, error: Exception | None) -> None:
        self._owner.disconnected(error)

    def called(self, session: Session, payload: bytes) -> bool:
        raise AssertionError("a classic plugin calls nothing")

    def held_loop(self, session: Session, seconds: float) -> None:
        raise AssertionError("nothing takes long here")

    def charged(self, session: Session, seconds: float) -> None:
        """On a busy machine anything may take long."""

    def became_ready(self, session: Session) -> None:
        raise AssertionError("a classic plugin is ready at once")


class Plugins:
    """A registry of real sessions, each with its peer."""

    def __init__(self, stack: AsyncExitStack, **options: Any) -> None:
        self.settings = Settings(max_frame_bytes=1 << 20, **options)
        self.registry = Registry(self.settings.event_policy)
        self.dispatcher = Dispatcher(self.registry, self.settings.max_frame_bytes)
        self._stack = stack

    async def add(self, name: str, priority: int = 0) -> WirePeer:
        owner = Owner()
        lane = Lane(owner, ReadBuffer(), 1 << 20)
        peer = await self._stack.enter_async_context(connected(lane, owner))
        shaken = Handshake(plugin=name, priority=priority, capabilities=("*",))
        runtime = PluginRuntime(name, None, policy=self.settings.plugin_policy(name))
        runtime.session = Session(
            shaken, Peer(1, 1), lane, LIMITS, SessionOwner(owner), rows=runtime.rows
        )
        runtime.session.open(b"\0\0\0\2{}")
        await peer.read()
        self.registry.add(runtime)
        return peer


@asynccontextmanager
async def having(**options: Any) -> AsyncIterator[Plugins]:
    async with AsyncExitStack() as stack:
        yield Plugins(stack, **options)


async def answering(peer: WirePeer, message: Any) -> Any:
    asked = await peer.read()
    await peer.answer(message)
    return asked["payload"]
