"""A client of the administration interface that sends what it is told, however wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from yarl import URL

from vconnect.admin.http.problems import KINDS

from .fake_manager import FakeManager, plugin_summary, served

JSON = {"Content-Type": "application/json"}


class Web:
    """Sends requests, and checks what holds for every answer.

    Attributes:
        headers: Those of the last answer.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        base: str = "http://localhost",
        token: str | None = None,
    ) -> None:
        self._session = session
        self._base = base
        self._token = token

    async def __call__(
        self, method: str, path: str, *, status: int = 200, **options: Any
    ) -> dict[str, Any]:
        """Send a request whose answer is JSON; return that."""
        kind = "application/json" if status < 400 else "application/problem+json"
        async with self.sent(method, path, **options) as answer:
            assert answer.status == status, await answer.text()
            assert answer.content_type == kind
            return await answer.json(content_type=kind)

    @asynccontextmanager
    async def sent(
        self, method: str, path: str, **options: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send any request."""
        url = URL(f"{self._base}{path}", encoded=True)
        headers = dict(options.pop("headers", None) or {})
        if self._token is not None and "Authorization" not in headers:
            headers["Authorization"] = f"Bearer {self._token}"
        async with self._session.request(method, url, headers=headers, **options) as answer:
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            self.headers = answer.headers
            yield answer

    async def fails(self, method: str, path: str, status: int, **options: Any) -> tuple[str, str]:
        """Send a request that is refused; return the code and the detail of the problem."""
        body = await self.problem(method, path, status, **options)
        return body["code"], body["detail"]

    async def problem(self, method: str, path: str, status: int, **options: Any) -> dict[str, Any]:
        """Send a request that is refused; return the whole problem."""
        body = await self(method, path, status=status, **options)
        assert body["status"] == status
        assert body["type"].endswith(f"#{body['code']}")
        assert all(isinstance(body[key], str) for key in ("title", "detail", "next"))
        old = KINDS[body["code"]].old if body["code"] in KINDS else ""
        assert body["error"]["message"] == body["detail"]
        assert body["error"]["code"] == old or not old or "plugin" in body
        return body


@asynccontextmanager
async def asking(manager: FakeManager) -> AsyncIterator[Web]:
    """Ask a manager over a real server on a real Unix socket."""
    async with served(manager) as path:
        connector = aiohttp.UnixConnector(str(path))
        async with aiohttp.ClientSession(connector=connector) as session:
            yield Web(session)


def one_plugin(**fields: Any) -> FakeManager:
    """A manager with one plugin, which is well but for these fields."""
    return FakeManager(plugin_summary(**fields))
