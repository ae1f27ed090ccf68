"""What only native plugins can be asked: the host's own events."""

from __future__ import annotations

import time
from typing import Any

from vconnect.dispatch.dispatcher import Dispatcher
from vconnect.errors import PluginUnavailableError
from vconnect.plugins.registry import Registry
from vconnect.supervision.admission import merge_config
from vconnect.wire.messages import CONFIG_CHECK, CONFIG_UPDATE, PING


class NativeRequests:
    """Sends the host's own events to plugins that speak the native dialect.

    Args:
        registry: The plugins.
        dispatcher: Sends the events.
    """

    def __init__(self, registry: Registry, dispatcher: Dispatcher) -> None:
        self._registry = registry
        self._dispatcher = dispatcher

    async def ping(self, name: str, timeout: float | None) -> float:
        """See `PluginRuntimeManager.ping`."""
        began = time.monotonic()
        await self._ask(name, PING, {}, timeout)
        return time.monotonic() - began

    async def update_config(self, name: str, values: dict[str, Any], timeout: float | None) -> None:
        """See `PluginRuntimeManager.update_config`."""
        plugin = self._registry.get(name)
        defaults = plugin.manifest.config if plugin.manifest is not None else {}
        config = {"config": merge_config(defaults, values)}
        await self._ask(name, CONFIG_CHECK, config, timeout)
        await self._ask(name, CONFIG_UPDATE, config, timeout)
        plugin.config = values

    async def _ask(
        self, name: str, event: str, payload: dict[str, Any], timeout: float | None
    ) -> None:
        plugin = self._registry.get(name)
        if plugin.session is not None and not plugin.session.is_native:
            raise PluginUnavailableError(
                plugin.name, f"it speaks the classic dialect, which does not have {event}"
            )
        await self._dispatcher.request(name, event, payload, timeout=timeout)
