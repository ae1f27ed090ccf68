"""The routes for settings: reload, and the configurations of plugins."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import msgspec

from vconnect.admin.http.asked import Asked, Reply
from vconnect.admin.http.bodies import body_of
from vconnect.admin.http.encoding import json_reply
from vconnect.admin.http.problems import Problem
from vconnect.admin.http.table import Route
from vconnect.admin.manager import Manager
from vconnect.errors import ConfigRefusedError
from vconnect.seeing.encoding import encode

# How a schema's violation is told: where, and what is expected there.
_VIOLATION = re.compile(r": invalid configuration: \$\.?(?P<field>[^:]*): (?P<words>.*)", re.DOTALL)


class ReloadRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST /api/reload``; see `PluginRuntimeManager.reload`."""

    dry_run: bool = False


class ConfigRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``PUT /api/plugins/{name}/config``; see `Configuration.set`."""

    set: dict[str, Any] = {}
    unset: list[str] = []
    save: bool = False
    dry_run: bool = False


class SettingsRoutes:
    """The handlers.

    Args:
        manager: The manager.
    """

    def __init__(self, manager: Manager) -> None:
        self._manager = manager

    def rows(self) -> list[Route]:
        """Return the rows of the table."""
        config = "/api/plugins/{name}/config"
        return [
            Route(
                "POST",
                "/api/reload",
                "operate",
                self.reload,
                "Read the settings again",
                body=ReloadRequest,
                order="reload",
                codes=("config_error",),
            ),
            Route(
                "GET",
                config,
                "view",
                self.config,
                "Show a plugin's configuration",
                codes=("unknown_plugin",),
            ),
            Route(
                "PUT",
                config,
                "operate",
                self.set_config,
                "Change a plugin's configuration",
                body=ConfigRequest,
                order="config",
                codes=("config_refused", "precondition_failed", "unknown_plugin"),
            ),
        ]

    async def reload(self, asked: Asked) -> Reply:
        """Read the settings again."""
        body = await body_of(asked, ReloadRequest, optional=True)
        done = await self._manager.reload(dry_run=body.dry_run, by=asked.by)
        return json_reply(msgspec.to_builtins(done))

    async def config(self, asked: Asked) -> Reply:
        """Show a plugin's configuration, with its schema."""
        name = asked.names["name"]
        values = self._manager.configuration.get(name)
        tag = _tag(values)
        reply = json_reply(
            {"values": values, "schema": self._manager.configuration.schema(name), "etag": tag}
        )
        reply.headers["ETag"] = f'"{tag}"'
        return reply

    async def set_config(self, asked: Asked) -> Reply:
        """Change a plugin's configuration."""
        body = await body_of(asked, ConfigRequest)
        name = asked.names["name"]
        wanted = asked.headers.get("if-match", "").strip('"')
        if wanted and wanted != _tag(self._manager.configuration.get(name)):
            raise Problem(
                "precondition_failed", f"the configuration of {name} has changed meanwhile"
            )
        try:
            change = await self._manager.configuration.set(
                name,
                body.set,
                unset=body.unset,
                save=body.save,
                dry_run=body.dry_run,
                by=asked.by,
            )
        except ConfigRefusedError as error:
            raise Problem(
                "config_refused", str(error), plugin=name, errors=_errors_of(error)
            ) from None
        return json_reply(msgspec.to_builtins(change))


def _errors_of(error: ConfigRefusedError) -> list[dict[str, str]]:
    """Return the field that a schema does not allow; nothing if the words name none."""
    found = _VIOLATION.search(str(error))
    return [] if found is None else [{"field": found["field"], "detail": found["words"]}]


def _tag(values: Any) -> str:
    return hashlib.sha256(encode(values)).hexdigest()[:16]
