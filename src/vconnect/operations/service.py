"""Brings what was installed into service: a first start, a next version, or the same one anew."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Protocol

import msgspec

from vconnect.errors import PluginError, PluginStartError
from vconnect.plugins.registry import Registry
from vconnect.plugins.runtime import PluginRuntime
from vconnect.store.layout import InstalledVersion
from vconnect.store.store import PluginStore
from vconnect.threads import in_thread

from .changes import Change, Outcome
from .versions import last_words

# How long the disk may take to learn that a version has failed.
_RECORDED_S = 5.0
_POLL_S = 0.01


class Orders(Protocol):
    """What is asked of the host."""

    async def start_plugin(self, name: str) -> None:
        """Start a plugin."""

    async def restart_plugin(self, name: str) -> None:
        """Restart a plugin."""

    def is_disabled(self, name: str) -> bool:
        """Return whether the operator has disabled a plugin."""


class Service:
    """Starts and replaces plugins after a change, and says what came of it.

    Args:
        orders: Starts and restarts plugins.
        registry: The plugins.
        store: What is installed.
    """

    def __init__(self, orders: Orders, registry: Registry, store: PluginStore) -> None:
        self._orders = orders
        self._registry = registry
        self._store = store

    async def start_first(self, planned: Change) -> Change:
        """Start a plugin whose first version was installed. It stays installed in any case."""
        done = msgspec.structs.replace(planned, result="installed")
        try:
            await self._orders.start_plugin(planned.name)
        except PluginError as error:
            words = f"{error.message}; it is installed: correct that, and use: vconnect start"
            return msgspec.structs.replace(
                done, result="failed", code="start_failed", reason=f"{words} {planned.name}"
            )
        return done

    async def try_next(self, planned: Change) -> Change:
        """Let the next version take over, if it gets ready."""
        plugin = self._registry.get(planned.name)
        if _is_stopped(plugin):
            verb = "enable" if self._orders.is_disabled(plugin.name) else "start"
            words = f"it is stopped; the next start tries it: vconnect {verb} {plugin.name}"
            return msgspec.structs.replace(planned, result="waiting", reason=words)
        try:
            plugin.ordering("", "upgrade")
            await self._orders.restart_plugin(planned.name)
        except PluginStartError as error:
            return await self._not_ready(planned, plugin, _reason_of(error))
        current = await in_thread(None, self._current, plugin)
        if current is not None and current.digest == planned.digest:
            return msgspec.structs.replace(planned, result="switched")
        return await self._not_ready(planned, plugin, "see its log")

    async def renew(self, planned: Change, result: Outcome) -> Change:
        """Let another process take over, because what the current version consists of has changed.

        A plugin that is stopped stays so.

        Args:
            planned: The change.
            result: What was done to the version: ``granted`` or ``repaired``.
        """
        done = msgspec.structs.replace(planned, result=result)
        plugin = self._registry.get(planned.name)
        if _is_stopped(plugin):
            return done
        try:
            plugin.ordering("", "upgrade")
            await self._orders.restart_plugin(plugin.name)
        except PluginStartError as error:
            runs = "; the old process serves on" if plugin.session else ""
            reason = f"{result}, but a new process did not get ready: {_reason_of(error)}{runs}"
            return msgspec.structs.replace(
                done, result="failed", code="start_failed", reason=reason
            )
        return done

    async def _not_ready(self, planned: Change, plugin: PluginRuntime, reason: str) -> Change:
        # The supervisor writes down why, after it has told those who wait.
        with suppress(TimeoutError):
            async with asyncio.timeout(_RECORDED_S):
                while not (words := await in_thread(None, last_words, plugin, planned.digest)):
                    await asyncio.sleep(_POLL_S)
                reason = words
        # It may have been stopped meanwhile; then it is not what the next start tries, either.
        current = await in_thread(None, self._withdraw, plugin)
        old = f"; {planned.before} serves on" if planned.before and plugin.session else ""
        return msgspec.structs.replace(
            planned,
            result="failed",
            code="start_failed",
            reason=f"{planned.after or 'it'} did not get ready: {reason}{old}",
            after=current.version if current is not None else "",
            digest=current.digest if current is not None else "",
        )

    def _withdraw(self, plugin: PluginRuntime) -> InstalledVersion | None:
        """Let the next start try no other version; return the current one. Blocks."""
        current = self._current(plugin)
        if current is not None:
            self._store.choose(current.home.name, current.digest)
        return current

    def _current(self, plugin: PluginRuntime) -> InstalledVersion | None:
        assert plugin.home is not None, "it is installed"
        return self._store.home(plugin.home.name).current()


def _is_stopped(plugin: PluginRuntime) -> bool:
    return plugin.desired == "stopped" and plugin.process is None


def _reason_of(error: PluginStartError) -> str:
    """Return why a process did not start; what else the error says, the row says itself."""
    reason = error.message.removeprefix("a new process failed: ")
    return reason.removesuffix("; the old one keeps running")
