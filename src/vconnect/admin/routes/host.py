"""The routes for the host itself: what it is, whether it is well, who changed what, sessions."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

import msgspec

from vconnect.admin.access.guard import TcpIdentity
from vconnect.admin.http.asked import Asked, Reply
from vconnect.admin.http.audit import Audit
from vconnect.admin.http.bodies import body_of, query_of
from vconnect.admin.http.encoding import json_reply
from vconnect.admin.http.openapi import document
from vconnect.admin.http.problems import Problem
from vconnect.admin.http.table import Route, Table
from vconnect.admin.manager import Manager
from vconnect.checks.doctor import Diagnosis, examine
from vconnect.processes.procfs import has_proc, read_stat
from vconnect.seeing.exposition import Exposition
from vconnect.threads import in_thread

from .plugins import Nothing, SinceQuery

_OPEN_METRICS = "application/openmetrics-text"
_METRICS = "text/plain; version=0.0.4; charset=utf-8"
_COOKIE_S = 12 * 3600


class SessionRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST /api/session``: a token, or the code of a printed address."""

    token: str | None = None
    code: str | None = None


class HostRoutes:
    """The handlers.

    Args:
        manager: The manager.
        name: The host's name.
        audit: Who has changed what.
        exposition: Writes metrics.
        is_stopping: Returns whether the host is about to end.
    """

    def __init__(
        self,
        manager: Manager,
        name: str,
        audit: Audit,
        exposition: Exposition,
        is_stopping: Callable[[], bool],
    ) -> None:
        self._manager = manager
        self._name = name
        self._audit = audit
        self._exposition = exposition
        self._is_stopping = is_stopping
        #: Set by a server over TCP, which has sessions.
        self.identity: TcpIdentity | None = None
        #: Returns an address that logs in once; ``None`` without TCP.
        self.new_login_url: Callable[[], str | None] = lambda: None
        #: Set once it is complete.
        self.table: Table | None = None
        self._document: bytes | None = None

    def rows(self) -> list[Route]:
        """Return the rows of the table."""
        metrics_role = None if self._manager.settings.metrics_public else "view"
        view: Callable[..., Route] = _view
        return [
            Route("GET", "/healthz", None, self.healthz, "The loop turns", media="text/plain"),
            Route(
                "GET",
                "/readyz",
                None,
                self.readyz,
                "Every required plugin serves",
                codes=("not_ready",),
                media="text/plain",
            ),
            Route(
                "GET",
                "/metrics",
                metrics_role,  # type: ignore[arg-type]
                self.metrics,
                "Metrics for Prometheus",
                media="text/plain",
            ),
            view("/api/openapi.json", self.openapi, "This document"),
            view("/api/host", self.host, "Describe the host"),
            view("/api/audit", self.audit, "Who has changed what", SinceQuery),
            view("/api/happenings", self.happenings, "What happened lately"),
            Route(
                "GET",
                "/api/doctor",
                "view",
                self.doctor,
                "Check the machine",
                query=Nothing,
                answer=Diagnosis,
            ),
            Route(
                "POST",
                "/api/session",
                None,
                self.begin_session,
                "Begin a session of the page",
                body=SessionRequest,
                codes=("bad_token", "too_many_tries"),
                status=HTTPStatus.NO_CONTENT,
            ),
            Route(
                "DELETE",
                "/api/session",
                None,
                self.end_session,
                "End a session",
                status=HTTPStatus.NO_CONTENT,
            ),
            Route(
                "POST",
                "/api/login-url",
                "operate",
                self.login_url,
                "Return an address of the page that logs in once",
                body=Nothing,
                order="login-url",
                codes=("conflict",),
            ),
        ]

    async def healthz(self, _: Asked) -> Reply:
        """Answer, which is all that this is about."""
        if self._is_stopping():
            raise Problem("stopping", "the host is stopping")
        return Reply(b"ok\n", content_type="text/plain; charset=utf-8")

    async def readyz(self, _: Asked) -> Reply:
        """Say whether every required plugin serves."""
        missing = self._manager.missing()
        if missing:
            raise Problem(
                "not_ready",
                f"required and not serving: {', '.join(missing)}",
                next=f"vconnect why {missing[0]}",
            )
        return Reply(b"ok\n", content_type="text/plain; charset=utf-8")

    async def metrics(self, asked: Asked) -> Reply:
        """Return the metrics."""
        is_open = _OPEN_METRICS in asked.headers.get("accept", "")
        body = await self._exposition.render(is_open=is_open)
        kind = f"{_OPEN_METRICS}; version=1.0.0; charset=utf-8" if is_open else _METRICS
        return Reply(body, content_type=kind)

    async def openapi(self, _: Asked) -> Reply:
        """Return the description of this interface."""
        if self._document is None:
            assert self.table is not None, "set before the first request"
            self._document = document(self.table)
        return Reply(self._document)

    async def host(self, asked: Asked) -> Reply:
        """Describe the host."""
        query_of(asked, Nothing)
        return json_reply(self.describe(asked))

    def describe(self, asked: Asked) -> dict[str, Any]:
        """Return what the page shows of this host."""
        summary = msgspec.structs.asdict(self._manager.host_summary())
        lag = self._manager.overview.minute.loop_lag()
        process = read_stat(os.getpid()) if has_proc() else None
        return {
            "id": f"{self._name}:{summary['pid']}",
            "name": self._name,
            "role": asked.role,
            "boot": self._manager.feed.boot,
            **summary,
            "rss_bytes": process.rss_bytes if process is not None else None,
            "loop_lag": lag,
        }

    async def audit(self, asked: Asked) -> Reply:
        """Return who has changed what."""
        wanted = query_of(asked, SinceQuery)
        return json_reply({"items": self._audit.since(wanted.since), "next": None})

    async def happenings(self, asked: Asked) -> Reply:
        """Return what happened lately."""
        query_of(asked, Nothing)
        return json_reply({"items": self._manager.happenings.newest(), "next": None})

    async def doctor(self, asked: Asked) -> Reply:
        """Check the machine as this host sees it."""
        query_of(asked, Nothing)
        return json_reply(await in_thread(None, examine, self._manager.settings))

    async def begin_session(self, asked: Asked) -> Reply:
        """Begin a session."""
        wanted = await body_of(asked, SessionRequest)
        identity = self._sessions(asked)
        secret = identity.access.begin(peer=asked.peer, token=wanted.token, code=wanted.code)
        return _with_cookie(identity, secret, _COOKIE_S, asked)

    async def end_session(self, asked: Asked) -> Reply:
        """End a session."""
        identity = self._sessions(asked)
        secret = identity.secret_in(asked)
        if secret is not None:
            identity.access.end(secret)
        return _with_cookie(identity, "", 0, asked)

    async def login_url(self, asked: Asked) -> Reply:
        """Return an address that logs in once, for somebody who is known already."""
        await body_of(asked, Nothing, optional=True)
        url = self.new_login_url()
        if url is None:
            raise Problem(
                "conflict",
                "this host serves no page over TCP",
                next="start it with --http 127.0.0.1:0",
            )
        return json_reply({"url": url})

    def _sessions(self, asked: Asked) -> TcpIdentity:
        if self.identity is None or asked.via != "tcp":
            raise Problem("unknown_route", "no session is needed here")
        return self.identity


def _view(
    path: str, handler: Callable[[Asked], Awaitable[Reply]], summary: str, query: Any = Nothing
) -> Route:
    return Route("GET", path, "view", handler, summary, query=query)


def _with_cookie(identity: TcpIdentity, secret: str, seconds: int, asked: Asked) -> Reply:
    is_secure = asked.headers.get("x-forwarded-proto") == "https"
    cookie = f"{identity.cookie}={secret}; HttpOnly; SameSite=Strict; Path=/; Max-Age={seconds}"
    secure = "; Secure" if is_secure else ""
    return Reply(status=HTTPStatus.NO_CONTENT, headers={"Set-Cookie": cookie + secure})
