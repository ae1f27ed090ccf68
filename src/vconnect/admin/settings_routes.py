"""The routes for settings: reload, and the configurations of plugins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec
from aiohttp import web

from .asking import who_asks
from .bodies import parse_body
from .responses import json_response


class Configuration(Protocol):
    """The part of `vconnect.operations.configuration.Configuration` that these routes use."""

    def get(self, name: str) -> Sequence[Any]:
        """Show a plugin's configuration."""

    async def set(
        self,
        name: str,
        values: dict[str, Any],
        *,
        unset: list[str],
        save: bool,
        dry_run: bool,
        by: str,
    ) -> Any:
        """Change a plugin's configuration."""


class Manager(Protocol):
    """The part of ``PluginRuntimeManager`` that these routes use."""

    configuration: Any

    async def reload(self, *, dry_run: bool = False, by: str = "") -> Any:
        """Read the settings again."""


class ReloadRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST /api/reload``; see `PluginRuntimeManager.reload`."""

    dry_run: bool = False


class ConfigRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``PUT /api/plugins/{name}/config``; see `Configuration.set`."""

    set: dict[str, Any] = {}
    unset: list[str] = []
    save: bool = False
    dry_run: bool = False


def add_settings_routes(app: web.Application, manager: Manager) -> None:
    """Add the routes to an application that answers errors."""
    routes = _Routes(manager)
    app.router.add_post("/api/reload", routes.reload)
    app.router.add_get("/api/plugins/{name}/config", routes.config)
    app.router.add_put("/api/plugins/{name}/config", routes.set_config)


class _Routes:
    """The handlers."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager

    @property
    def _configuration(self) -> Configuration:
        found: Configuration = self._manager.configuration
        return found

    async def reload(self, request: web.Request) -> web.Response:
        body = parse_body(await request.read() or b"{}", ReloadRequest)
        done = await self._manager.reload(dry_run=body.dry_run, by=who_asks(request))
        return json_response(msgspec.to_builtins(done))

    async def config(self, request: web.Request) -> web.Response:
        return json_response({"values": self._configuration.get(request.match_info["name"])})

    async def set_config(self, request: web.Request) -> web.Response:
        body = parse_body(await request.read(), ConfigRequest)
        change = await self._configuration.set(
            request.match_info["name"],
            body.set,
            unset=body.unset,
            save=body.save,
            dry_run=body.dry_run,
            by=who_asks(request),
        )
        return json_response(msgspec.to_builtins(change))
