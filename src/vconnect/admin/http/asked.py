"""A request and its answer, whichever server carries them.

The routes know only these, so that a socket, a TCP port and an ASGI application serve the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Literal

#: What somebody may do: ``view`` only reads; ``operate`` changes, and sees payloads.
Role = Literal["view", "operate"]
#: How a request came.
Via = Literal["socket", "tcp", "application"]

JSON_TYPE = "application/json"
BYTES_TYPE = "application/octet-stream"


async def _nothing() -> AsyncIterator[bytes]:
    yield b""


@dataclass(frozen=True, slots=True)
class Who:
    """Who sends a request.

    Attributes:
        name: For the log: a user, a token's name, or what the application says.
        role: What they may do.
        via: How the request came.
    """

    name: str
    role: Role
    via: Via

    @property
    def words(self) -> str:
        """Who it is and how they came, for the log."""
        way = {"socket": "the administration socket", "tcp": "HTTP", "application": "the page"}
        return f"{self.name} over {way[self.via]}"

    def may(self, role: Role) -> bool:
        """Return whether this role is enough for what asks for ``role``."""
        return role == "view" or self.role == "operate"


@dataclass(slots=True)
class Asked:
    """A request.

    Attributes:
        method: In capitals.
        path: The path as it was sent, still encoded, below the prefix of the application.
        query: The keys and values of the query, decoded, in their order.
        headers: By name in lower case; several of one name are joined by commas.
        read: Reads the whole body; raises `TooLargeError`.
        via: How it came.
        peer: Identifies the sender for the limit of wrong tokens.
        who: Who sends it; set once that is known.
        stream: Yields the body as it comes, however large it is, in place of ``read``; only once.
            By default it is empty.
        names: What stands in the places of the route, such as ``name``.
        order: What is done, for the audit; set by routes that know it better than their name.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    read: Callable[[], Awaitable[bytes]]
    via: Via
    peer: str = ""
    who: Who | None = None
    stream: Callable[[], AsyncIterator[bytes]] = _nothing
    names: dict[str, str] = field(default_factory=dict)

    @property
    def by(self) -> str:
        """Who sends it, in words."""
        return self.who.words if self.who is not None else "somebody"

    @property
    def role(self) -> Role:
        """What the sender may do; the least before that is known."""
        return self.who.role if self.who is not None else "view"


@dataclass(slots=True)
class Reply:
    """An answer.

    Attributes:
        body: Its bytes; of a stream, what is known at once.
        status: The HTTP status.
        content_type: Its type.
        headers: Others, by name.
        chunks: What follows, for an answer that goes on.
        code: The code of a problem, for the audit; empty if all is well.
        ended: Of an answer whose work goes on: ends with the code.
        is_endless: Whether the chunks have no end of their own, so that they are closed when the
            client goes away; other work goes on without it.
    """

    body: bytes = b""
    status: int = HTTPStatus.OK
    content_type: str = JSON_TYPE
    headers: dict[str, str] = field(default_factory=dict)
    chunks: AsyncIterator[bytes] | None = None
    code: str = ""
    ended: asyncio.Future[str] | None = None
    is_endless: bool = False


class TooLargeError(Exception):
    """A body is larger than allowed."""
