"""The routes for packages: install, upgrade, roll back, remove, verify, look up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import msgspec

from vconnect.admin.http.asked import Asked, Reply
from vconnect.admin.http.bodies import body_of
from vconnect.admin.http.encoding import json_reply
from vconnect.admin.http.progress import wants_lines, with_progress
from vconnect.admin.http.table import Route
from vconnect.admin.manager import Manager
from vconnect.packages.progress import Report


class InstallRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST /api/install``; see `Packages.install`."""

    sources: list[str]
    upgrade: bool = False
    start: bool = True
    frozen: bool = False
    grant: list[str] | None = None
    allow_similar: bool = False
    dry_run: bool = False


class UpgradeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST /api/upgrade``; see `Packages.upgrade`."""

    names: list[str]
    grant: list[str] | None = None
    digests: dict[str, str] = {}
    dry_run: bool = False


class RollbackRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST /api/plugins/{name}/rollback``; see `Packages.rollback`."""

    version: str = ""
    dry_run: bool = False


class UninstallRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST /api/uninstall``; see `Packages.uninstall`."""

    names: list[str]
    purge: bool = False
    force: bool = False
    dry_run: bool = False


class RescanRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST /api/rescan``; see `Packages.rescan`."""

    dry_run: bool = False


class VerifyRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST /api/verify`` and ``/api/outdated``: the plugins, or none for all."""

    names: list[str] = []


class SearchRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST /api/search``; see `Packages.search`."""

    word: str = ""


class InfoRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST /api/info``; see `Packages.info`."""

    name: str


class PackageRoutes:
    """The handlers. Those that change something answer with a row for each plugin.

    Args:
        manager: The manager.
    """

    def __init__(self, manager: Manager) -> None:
        self._manager = manager

    def rows(self) -> list[Route]:
        """Return the rows of the table."""
        changes = ("conflict", "not_verified", "signature_error", "consent_required")
        return [
            Route(
                method="POST",
                path=path,
                role="operate",
                handler=handler,
                summary=summary,
                body=body,
                order=path.rpartition("/")[2],
                codes=changes,
            )
            for path, handler, summary, body in (
                ("/api/install", self.install, "Install packages", InstallRequest),
                ("/api/upgrade", self.upgrade, "Upgrade plugins", UpgradeRequest),
                (
                    "/api/plugins/{name}/rollback",
                    self.rollback,
                    "Return to another version",
                    RollbackRequest,
                ),
                ("/api/uninstall", self.uninstall, "Remove plugins", UninstallRequest),
                ("/api/rescan", self.rescan, "Look for plugins on the disk", RescanRequest),
            )
        ] + [
            *(
                Route("POST", path, "operate", handler, summary, body)
                for path, handler, summary, body in (
                    ("/api/verify", self.verify, "Compare files", VerifyRequest),
                    ("/api/outdated", self.outdated, "Look for upgrades", VerifyRequest),
                    ("/api/search", self.search, "Search the indexes", SearchRequest),
                    ("/api/info", self.info, "Look a plugin up", InfoRequest),
                )
            ),
            Route(
                "GET",
                "/api/plugins/{name}/versions",
                "view",
                self.versions,
                "List the versions in the store",
                codes=("unknown_plugin",),
            ),
        ]

    async def install(self, asked: Asked) -> Reply:
        """Install packages."""
        body = await body_of(asked, InstallRequest)
        return await _changed_with_progress(
            asked,
            partial(
                self._manager.packages.install,
                body.sources,
                upgrade=body.upgrade,
                start=body.start,
                frozen=body.frozen,
                grant=body.grant,
                allow_similar=body.allow_similar,
                dry_run=body.dry_run,
                by=asked.by,
            ),
        )

    async def upgrade(self, asked: Asked) -> Reply:
        """Upgrade plugins."""
        body = await body_of(asked, UpgradeRequest)
        return await _changed_with_progress(
            asked,
            partial(
                self._manager.packages.upgrade,
                body.names,
                grant=body.grant,
                digests=body.digests,
                dry_run=body.dry_run,
                by=asked.by,
            ),
        )

    async def rollback(self, asked: Asked) -> Reply:
        """Return to another version."""
        body = await body_of(asked, RollbackRequest, optional=True)
        name = asked.names["name"]
        change = await self._manager.packages.rollback(
            name, body.version, dry_run=body.dry_run, by=asked.by
        )
        return json_reply({"changes": [change]})

    async def uninstall(self, asked: Asked) -> Reply:
        """Remove plugins."""
        body = await body_of(asked, UninstallRequest)
        return await _changed(
            self._manager.packages.uninstall(
                body.names,
                purge=body.purge,
                force=body.force,
                dry_run=body.dry_run,
                by=asked.by,
            ),
        )

    async def rescan(self, asked: Asked) -> Reply:
        """Look for plugins on the disk."""
        body = await body_of(asked, RescanRequest, optional=True)
        return await _changed(self._manager.packages.rescan(dry_run=body.dry_run, by=asked.by))

    async def verify(self, asked: Asked) -> Reply:
        """Compare what is installed with what was installed."""
        body = await body_of(asked, VerifyRequest, optional=True)
        return json_reply({"versions": await self._manager.packages.verify(body.names)})

    async def outdated(self, asked: Asked) -> Reply:
        """Look what the sources have now."""
        body = await body_of(asked, VerifyRequest, optional=True)
        return json_reply({"plugins": await self._manager.packages.outdated(body.names)})

    async def versions(self, asked: Asked) -> Reply:
        """List the versions in the store."""
        name = asked.names["name"]
        return json_reply({"versions": await self._manager.packages.versions(name)})

    async def search(self, asked: Asked) -> Reply:
        """Search the indexes."""
        body = await body_of(asked, SearchRequest, optional=True)
        return json_reply(await self._manager.packages.search(body.word))

    async def info(self, asked: Asked) -> Reply:
        """Say what an index has of a plugin."""
        body = await body_of(asked, InfoRequest)
        return json_reply(await self._manager.packages.info(body.name))


async def _changed(changing: Awaitable[Any]) -> Reply:
    return json_reply({"changes": await changing})


async def _changed_with_progress(asked: Asked, change: Callable[..., Awaitable[Any]]) -> Reply:
    """Respond to what may download: in lines of progress first, if the client asks for them."""
    if not wants_lines(asked):
        return await _changed(change())

    async def work(report: Report) -> dict[str, Any]:
        return {"changes": await change(report=report)}

    return with_progress(asked, work)
