"""What only native plugins can be asked: the host's own events."""

# These events come from the host and not from the application, so nothing that the operator has set
# for the application's events applies to them: an open circuit, a quarantine or a default answer
# would keep from a plugin just what could bring it back into order.

from __future__ import annotations

import time
from typing import Any

from vconnect.dispatch.delivery import inherited
from vconnect.errors import PluginUnavailableError
from vconnect.plugins.registry import Registry
from vconnect.plugins.runtime import PluginRuntime
from vconnect.wire.messages import CONFIG_CHECK, CONFIG_UPDATE, EVENT_NAMES, PING


class NativeRequests:
    """Sends the host's own events to plugins that speak the native dialect.

    Args:
        registry: The plugins.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def ping(self, name: str, timeout: float | None) -> float:
        """See `PluginRuntimeManager.ping`."""
        began = time.monotonic()
        await self._ask(name, PING, {}, timeout)
        return time.monotonic() - began

    async def ask_config(
        self,
        plugin: PluginRuntime,
        config: dict[str, Any],
        timeout: float | None = None,
        *,
        only_check: bool = False,
    ) -> None:
        """Let a native plugin check a configuration, and then take it over.

        Args:
            plugin: The plugin.
            config: The whole configuration.
            timeout: Seconds for the check, and again for the update.
            only_check: Whether it is not to take it over.

        Raises:
            PluginReplyError: It has refused it; ``unknown_event`` if it cannot be asked.
            PluginError: It is not connected, or did not answer.
        """
        for event in (CONFIG_CHECK,) if only_check else (CONFIG_CHECK, CONFIG_UPDATE):
            await self._ask(plugin.name, event, {"config": config}, timeout)

    async def _ask(
        self, name: str, event: str, payload: dict[str, Any], timeout: float | None
    ) -> None:
        plugin = self._registry.get(name)
        session = plugin.session
        if session is None:
            words = f"not connected ({plugin.state_in_words})"
            raise PluginUnavailableError(plugin.name, words)
        if not session.is_native:
            raise PluginUnavailableError(
                plugin.name, f"it speaks the classic dialect, which does not have {event}"
            )
        # Past the dispatcher: no open circuit, quarantine or default answer stands in between.
        if timeout is None:
            timeout = self._registry.policies[event].timeout
        # In a function of the application, not longer than the plugin's call that it serves.
        _, until = inherited(time.monotonic() + timeout)
        await session.request(EVENT_NAMES[event], payload, until - time.monotonic())
