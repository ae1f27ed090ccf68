"""The routes for packages: install, upgrade, roll back, remove, verify, look up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

import msgspec

from vconnect.admin.http.asked import Asked, Reply
from vconnect.admin.http.bodies import body_of, query_of
from vconnect.admin.http.encoding import json_reply
from vconnect.admin.http.progress import JSON_LINES, wants_lines, with_progress
from vconnect.admin.http.table import Handler, Route
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
    """The body of ``/api/verify`` and ``/api/outdated``: the plugins, or none for all."""

    names: list[str] = []


class SearchRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body or query of ``/api/search``; see `Packages.search`."""

    word: str = ""


class InfoRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body or query of ``/api/info``; see `Packages.info`."""

    name: str


class RemoveQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The query of ``DELETE /api/plugins/{name}``; see `Packages.uninstall`."""

    purge: bool = False
    force: bool = False
    dry_run: bool = False


class OutdatedQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The query of ``GET /api/outdated``: the plugins, or none for all."""

    name: tuple[str, ...] = ()


_CHANGE_CODES = ("conflict", "not_verified", "signature_error", "consent_required")
_WITH_PROGRESS = (InstallRequest, UpgradeRequest)

T = TypeVar("T", bound=msgspec.Struct)


class PackageRoutes:
    """The handlers. Those that change something answer with a row for each plugin.

    Args:
        manager: The manager.
    """

    def __init__(self, manager: Manager) -> None:
        self._manager = manager

    def rows(self) -> list[Route]:
        """Return the rows of the table."""
        return [*self._changes(), *self._queries()]

    def _changes(self) -> list[Route]:
        orders = (
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
        return [
            *(
                Route(
                    "POST",
                    path,
                    "operate",
                    handler,
                    summary,
                    body=body,
                    order=path.rpartition("/")[2],
                    codes=_CHANGE_CODES,
                    further_media=(JSON_LINES,) if body in _WITH_PROGRESS else (),
                )
                for path, handler, summary, body in orders
            ),
            Route(
                "DELETE",
                "/api/plugins/{name}",
                "operate",
                self.remove,
                "Remove a plugin",
                query=RemoveQuery,
                order="uninstall",
                codes=("unknown_plugin",),
            ),
        ]

    def _queries(self) -> list[Route]:
        index = ("install_error", "not_verified")
        look_up = ("unknown_plugin", *index)
        return [
            Route("POST", "/api/verify", "operate", self.verify, "Compare files", VerifyRequest),
            *_both(
                "/api/outdated", self.outdated, "Look for upgrades", VerifyRequest, OutdatedQuery
            ),
            *_both("/api/search", self.search, "Search the indexes", SearchRequest, codes=index),
            *_both("/api/info", self.info, "Look a plugin up", InfoRequest, codes=look_up),
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
        return _with_code({"changes": [change]})

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

    async def remove(self, asked: Asked) -> Reply:
        """Remove the plugin that the path names."""
        wanted = query_of(asked, RemoveQuery)
        # A row says what became of several plugins; of one, an unknown name is the whole answer.
        name = self._manager.summary(asked.names["name"]).name
        return await _changed(
            self._manager.packages.uninstall(
                [name],
                purge=wanted.purge,
                force=wanted.force,
                dry_run=wanted.dry_run,
                by=asked.by,
            )
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
        if asked.method == "POST":
            names = (await body_of(asked, VerifyRequest, optional=True)).names
        else:
            names = list(query_of(asked, OutdatedQuery).name)
        return json_reply({"plugins": await self._manager.packages.outdated(names)})

    async def versions(self, asked: Asked) -> Reply:
        """List the versions in the store."""
        name = asked.names["name"]
        return json_reply({"versions": await self._manager.packages.versions(name)})

    async def search(self, asked: Asked) -> Reply:
        """Search the indexes."""
        wanted = await _wanted(asked, SearchRequest, optional=True)
        return json_reply(await self._manager.packages.search(wanted.word))

    async def info(self, asked: Asked) -> Reply:
        """Say what an index has of a plugin."""
        wanted = await _wanted(asked, InfoRequest)
        return json_reply(await self._manager.packages.info(wanted.name))


def _both(
    path: str,
    handler: Handler,
    summary: str,
    body: type[msgspec.Struct],
    query: type[msgspec.Struct] | None = None,
    codes: tuple[str, ...] = ("unknown_plugin",),
) -> list[Route]:
    """Return the rows of a question: GET, and POST as the first versions had it."""
    return [
        Route("GET", path, "view", handler, summary, query=query or body, codes=codes),
        Route("POST", path, "operate", handler, summary, body=body, codes=codes),
    ]


async def _wanted(asked: Asked, kind: type[T], *, optional: bool = False) -> T:
    """Return what is asked: in the body of a POST, in the query of a GET."""
    if asked.method == "POST":
        return await body_of(asked, kind, optional=optional)
    return query_of(asked, kind)


async def _changed(changing: Awaitable[Any]) -> Reply:
    return _with_code({"changes": await changing})


def _with_code(answer: dict[str, Any]) -> Reply:
    """Answer with changes, each of which may have failed; the audit says whether one has."""
    reply = json_reply(answer)
    reply.code = _code_of(answer)
    return reply


def _code_of(answer: dict[str, Any]) -> str:
    """Return the code of the first change that failed; empty if none did."""
    for change in answer["changes"]:
        if getattr(change, "is_failure", False):
            return change.code or "failed"
    return ""


async def _changed_with_progress(asked: Asked, change: Callable[..., Awaitable[Any]]) -> Reply:
    """Respond to what may download: in lines of progress first, if the client asks for them."""
    if not wants_lines(asked):
        return await _changed(change())

    async def work(report: Report) -> dict[str, Any]:
        return {"changes": await change(report=report)}

    return with_progress(asked, work, _code_of)
