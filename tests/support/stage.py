"""A supervisor with processes on paper, whose ends and sessions are in the test's hand."""

from __future__ import annotations

import asyncio
from typing import Any

from vconnect.plugins.runtime import PluginRuntime
from vconnect.plugins.status import PluginStatus, Substate
from vconnect.supervision.instance import Instance
from vconnect.wire.session import Session

from .paper import PaperLauncher, PaperReleases, plugin, supervisor, unopened
from .wire_kit import until

NEVER = {"restart": "never"}


class Stage:
    """A supervisor, its plugin, and the launcher whose processes the test ends.

    Attributes:
        given_up: The plugins of which a crash loop was told.
        releases: The plugin's versions.
    """

    def __init__(self, runtime: PluginRuntime | None = None, **options: Any) -> None:
        given = NEVER | {"drain_timeout": 0.05, "interrupt_timeout": 0.001} | options
        slots = given.pop("slots", None)
        self.plugin = runtime or plugin(**given)
        self.launcher = PaperLauncher()
        self.given_up: list[PluginRuntime] = []
        self.releases = PaperReleases()
        self.one = supervisor(
            self.plugin,
            self.launcher,
            slots=slots,
            on_given_up=self.given_up.append,
            releases=self.releases,
            **given,
        )
        self.sessions: list[Session] = []

    def shake(self, instance: Instance | None = None, session: Session | None = None) -> Session:
        """Complete the handshake of the process that was started last, or of another."""
        instance = instance or self.launcher.started[-1]
        session = unopened() if session is None else session
        self.one.attached(session, instance)
        self.sessions.append(session)
        return session

    async def starts(self, count: int) -> None:
        await until(lambda: len(self.launcher.started) >= count, f"{count} starts")

    async def up(self, session: Session | None = None) -> Session:
        """Start it, up to its handshake; by default with a session that nothing is behind."""
        started = len(self.launcher.started)
        starting = asyncio.create_task(self.one.start())
        await self.starts(started + 1)
        session = self.shake(session=session)
        await starting
        return session

    async def rests(self, status: PluginStatus, substate: Substate) -> None:
        await until(
            lambda: (self.plugin.status, self.plugin.substate) == (status, substate),
            f"{status}/{substate}; it is {self.plugin.status}/{self.plugin.substate}",
        )


async def closed(stage: Stage) -> None:
    async with asyncio.timeout(10):
        await stage.one.close()
