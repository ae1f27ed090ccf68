"""Other hosts beside this one: the workers of an application, each with a socket of its own."""

# Only names that are found in the directory of our own socket count: no address ever comes from a
# request. What is passed on goes with the role of the one who asks, which a socket can only lower.

from __future__ import annotations

import asyncio
import os
import stat
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import orjson
from yarl import URL

from vconnect.admin.http.asked import BYTES_TYPE, Asked, Reply
from vconnect.admin.http.bodies import whole_body
from vconnect.admin.http.encoding import json_reply
from vconnect.admin.http.problems import Problem
from vconnect.admin.http.progress import JSON_LINES
from vconnect.admin.http.table import Route

SUFFIX = ".admin.sock"
ROLE_HEADER = "vconnect-role"
# How long a sibling may take to say what it is, and to carry out an order. Seconds.
_LOOK_S = 0.2
# What comes in parts is passed on in parts. If it is work, the other host ends it without us.
_IN_PARTS = ("text/event-stream", JSON_LINES)
_PASSED_ON = (
    *("content-type", "accept", "if-match", "last-event-id"),
    *("idempotency-key", "prefer"),
)


class Siblings:
    """Finds the hosts beside this one, and passes requests on to them.

    Args:
        describe: Describes this host to somebody; see ``GET /api/host``.
    """

    def __init__(self, describe: Any) -> None:
        self._describe = describe
        #: The socket of this host; ``None`` without one, and then there are no siblings.
        self.own: Path | None = None
        # When each was last heard of, in Unix seconds, and what it said then.
        self._known: dict[Path, tuple[float, dict[str, Any]]] = {}

    def rows(self) -> list[Route]:
        """Return the rows of the table."""
        below = "/api/hosts/{id}/{rest*}"
        passing = [
            Route(
                method,
                below,
                "view" if method == "GET" else "operate",
                self.pass_on,
                "Pass a request on to a host beside this one",
                codes=("unknown_host", "unavailable"),
                order="" if method == "GET" else "pass-on",
                is_hidden=True,
            )
            for method in ("GET", "POST", "PUT", "DELETE")
        ]
        hosts = Route("GET", "/api/hosts", "view", self.hosts, "List the hosts beside this one")
        return [hosts, *passing]

    async def hosts(self, asked: Asked) -> Reply:
        """List this host and those beside it."""
        own = {**self._describe(asked), "is_this": True}
        others = await asyncio.gather(*(self._look(path) for path in self._paths()))
        return json_reply({"items": [own, *others], "next": None})

    async def pass_on(self, asked: Asked) -> Reply:
        """Pass a request on."""
        wanted = asked.names["id"]
        for path in self._paths():
            described = await self._look(path)
            if described.get("id") == wanted:
                return await _passed(path, asked)
        raise Problem("unknown_host", f"there is no host {wanted!r} beside this one")

    def _paths(self) -> list[Path]:
        """Return the sockets beside our own that belong to this user, and to nobody else."""
        if self.own is None:
            return []
        found = []
        for path in sorted(self.own.parent.glob(f"*{SUFFIX}")):
            try:
                state = path.lstat()
            except OSError:
                continue
            is_ours = stat.S_ISSOCK(state.st_mode) and state.st_uid == os.geteuid()
            if is_ours and not state.st_mode & 0o077 and path != self.own:
                found.append(path)
        return found

    async def _look(self, path: Path) -> dict[str, Any]:
        """Describe a host, or say since when it has not answered."""
        try:
            async with (
                asyncio.timeout(_LOOK_S),
                _session(path) as session,
                session.get("http://vconnect/api/host") as answer,
            ):
                described: dict[str, Any] = orjson.loads(await answer.read())
        except (aiohttp.ClientError, OSError, TimeoutError, orjson.JSONDecodeError):
            heard, before = self._known.get(path, (None, {}))
            since = time.time() if heard is None else heard
            name = before.get("id", path.name.removesuffix(SUFFIX))
            return {**before, "id": name, "is_this": False, "problem": "no answer", "since": since}
        self._known[path] = (time.time(), described)
        return {**described, "is_this": False}


def _session(path: Path) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path)))


async def _passed(path: Path, asked: Asked) -> Reply:
    headers = {name: asked.headers[name] for name in _PASSED_ON if name in asked.headers}
    headers[ROLE_HEADER] = asked.role
    kind = asked.headers.get("content-type", "")
    # What is too large for the memory is passed on as it comes.
    body = asked.stream() if kind == BYTES_TYPE else await whole_body(asked) or None
    query = urlencode(asked.query)
    url = URL(f"http://vconnect/{asked.names['rest']}{'?' + query if query else ''}", encoded=True)
    session = _session(path)
    # An order may take any time, and a stream has no end.
    timeout = aiohttp.ClientTimeout(total=None)
    try:
        answer = await session.request(
            asked.method, url, data=body, headers=headers, timeout=timeout
        )
    except (aiohttp.ClientError, OSError) as error:
        await session.close()
        raise Problem("unavailable", f"the host does not answer: {error}") from None
    reply = Reply(status=answer.status, content_type=answer.headers.get("Content-Type", ""))
    if answer.content_type in _IN_PARTS:
        reply.chunks, reply.is_endless = _chunks(session, answer), True
        return reply
    async with session, answer:
        reply.body = await answer.read()
    return reply


async def _chunks(
    session: aiohttp.ClientSession, answer: aiohttp.ClientResponse
) -> AsyncIterator[bytes]:
    async with session, answer:
        async for chunk in answer.content.iter_any():
            yield chunk
