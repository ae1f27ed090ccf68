"""What only native plugins can be asked: the host's own events."""

# These events come from the host and not from the application, so nothing that the operator has set
# for the application's events applies to them: an open circuit, a quarantine or a default answer
# would keep from a plugin just what could bring it back into order.

from __future__ import annotations

import time
from typing import Any

from vconnect.dispatch.delivery import inherited
from vconnect.errors import ConfigError, PluginUnavailableError
from vconnect.packages.config_schema.check import find_violation
from vconnect.plugins.registry import Registry
from vconnect.plugins.runtime import PluginRuntime
from vconnect.supervision.admission import merge_config
from vconnect.threads import in_thread
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

    async def update_config(self, name: str, values: dict[str, Any], timeout: float | None) -> None:
        """See `PluginRuntimeManager.update_config`."""
        plugin = self._registry.get(name)
        if not isinstance(values, dict):
            raise ConfigError(
                f"plugin {plugin.name}: the configuration is of type {type(values).__name__}; "
                "expected a dictionary"
            )
        defaults = plugin.manifest.config if plugin.manifest is not None else {}
        merged = merge_config(defaults, values)
        await self._check(plugin, merged)
        config = {"config": merged}
        await self._ask(name, CONFIG_CHECK, config, timeout)
        await self._ask(name, CONFIG_UPDATE, config, timeout)
        plugin.config = values

    async def _check(self, plugin: PluginRuntime, config: dict[str, Any]) -> None:
        """Refuse what the schema in the plugin's manifest does not allow."""
        schema = plugin.manifest.config_schema if plugin.manifest is not None else {}
        if schema and (violation := await in_thread(None, find_violation, schema, config)):
            raise ConfigError(f"plugin {plugin.name}: invalid configuration: {violation}")

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
