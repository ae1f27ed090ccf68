"""The routes for packages: install, upgrade, roll back, remove, verify, look up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol

import msgspec
from aiohttp import web

from vconnect.packages.progress import Report

from .asking import who_asks
from .bodies import parse_body
from .responses import json_response
from .streams import stream, wants_lines


class Manager(Protocol):
    """The part of ``PluginRuntimeManager`` that these routes use."""

    packages: Any


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


def add_package_routes(app: web.Application, manager: Manager) -> None:
    """Add the routes to an application that answers errors."""
    routes = _Routes(manager)
    app.router.add_post("/api/install", routes.install)
    app.router.add_post("/api/upgrade", routes.upgrade)
    app.router.add_post("/api/plugins/{name}/rollback", routes.rollback)
    app.router.add_post("/api/uninstall", routes.uninstall)
    app.router.add_post("/api/rescan", routes.rescan)
    app.router.add_post("/api/verify", routes.verify)
    app.router.add_post("/api/outdated", routes.outdated)
    app.router.add_get("/api/plugins/{name}/versions", routes.versions)
    app.router.add_post("/api/search", routes.search)
    app.router.add_post("/api/info", routes.info)


class _Routes:
    """The handlers. Those that change something respond with a row for each plugin."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager

    async def install(self, request: web.Request) -> web.StreamResponse:
        body = parse_body(await request.read(), InstallRequest)
        return await _changed_with_progress(
            request,
            partial(
                self._manager.packages.install,
                body.sources,
                upgrade=body.upgrade,
                start=body.start,
                frozen=body.frozen,
                grant=body.grant,
                allow_similar=body.allow_similar,
                dry_run=body.dry_run,
                by=who_asks(request),
            ),
        )

    async def upgrade(self, request: web.Request) -> web.StreamResponse:
        body = parse_body(await request.read(), UpgradeRequest)
        return await _changed_with_progress(
            request,
            partial(
                self._manager.packages.upgrade,
                body.names,
                grant=body.grant,
                digests=body.digests,
                dry_run=body.dry_run,
                by=who_asks(request),
            ),
        )

    async def rollback(self, request: web.Request) -> web.Response:
        body = parse_body(await request.read() or b"{}", RollbackRequest)
        name = request.match_info["name"]
        change = await self._manager.packages.rollback(
            name, body.version, dry_run=body.dry_run, by=who_asks(request)
        )
        return json_response({"changes": [change]})

    async def uninstall(self, request: web.Request) -> web.Response:
        body = parse_body(await request.read(), UninstallRequest)
        return await _changed(
            self._manager.packages.uninstall(
                body.names,
                purge=body.purge,
                force=body.force,
                dry_run=body.dry_run,
                by=who_asks(request),
            ),
        )

    async def rescan(self, request: web.Request) -> web.Response:
        body = parse_body(await request.read() or b"{}", RescanRequest)
        return await _changed(
            self._manager.packages.rescan(dry_run=body.dry_run, by=who_asks(request))
        )

    async def verify(self, request: web.Request) -> web.Response:
        body = parse_body(await request.read() or b"{}", VerifyRequest)
        return json_response({"versions": await self._manager.packages.verify(body.names)})

    async def outdated(self, request: web.Request) -> web.Response:
        body = parse_body(await request.read() or b"{}", VerifyRequest)
        return json_response({"plugins": await self._manager.packages.outdated(body.names)})

    async def versions(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        return json_response({"versions": await self._manager.packages.versions(name)})

    async def search(self, request: web.Request) -> web.Response:
        body = parse_body(await request.read() or b"{}", SearchRequest)
        return json_response(await self._manager.packages.search(body.word))

    async def info(self, request: web.Request) -> web.Response:
        body = parse_body(await request.read(), InfoRequest)
        return json_response(await self._manager.packages.info(body.name))


async def _changed(changing: Awaitable[Any]) -> web.Response:
    return json_response({"changes": await changing})


async def _changed_with_progress(
    request: web.Request, change: Callable[..., Awaitable[Any]]
) -> web.StreamResponse:
    """Respond to what may download: in lines of progress first, if the client asks for them."""
    if not wants_lines(request):
        return await _changed(change())

    async def work(report: Report) -> dict[str, Any]:
        return {"changes": await change(report=report)}

    return await stream(request, work)
