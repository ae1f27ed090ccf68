"""Orders that outlive the request that gives them: carried out once, and looked up later."""

# A client whose connection breaks does not know whether its order was carried out. With a key of
# its own it can ask again: the order is done once, and every request with the key gets its answer.
# And a client that does not want to wait says so (RFC 7240, `Prefer: respond-async`), and looks
# later.

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TypeAlias

import msgspec
import orjson

from vconnect.admin.answers import OrderState
from vconnect.seeing.encoding import encode

from .asked import Asked, Reply, Who
from .bodies import whole_body
from .problems import Problem, field_problem
from .table import Route

_KEPT = 256
# Of a larger answer, only the status is kept. Bytes.
_MAX_ANSWER = 256 * 1024
MAX_KEY_CHARS = 128


# Who has given the order, the method and path, and the key.
_Place: TypeAlias = tuple[str, str, str]


@dataclass(eq=False)
class _Order:
    order: str
    plugin: str | None
    who: str
    request: bytes  # a digest of what was asked
    task: asyncio.Task[Reply]
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    began: float = field(default_factory=time.time)

    def reply(self) -> Reply:
        """Return the answer of an order that has ended, to be sent once more."""
        done = self.task.result()
        return Reply(done.body, done.status, done.content_type, dict(done.headers), code=done.code)

    def describe(self) -> OrderState:
        """Describe it."""
        state = OrderState(
            id=self.id, order=self.order, plugin=self.plugin, who=self.who, began=self.began
        )
        if not self.task.done():
            return state
        reply = self.task.result()
        has_answer = 0 < len(reply.body) <= _MAX_ANSWER
        return msgspec.structs.replace(
            state,
            state="done" if reply.status < HTTPStatus.BAD_REQUEST else "failed",
            status=reply.status,
            answer=orjson.loads(reply.body) if has_answer else None,
        )


class Orders:
    """Carries orders out, and remembers those of clients that may ask again."""

    def __init__(self) -> None:
        self._orders: dict[str, _Order] = {}
        self._by_key: dict[_Place, _Order] = {}

    def rows(self) -> list[Route]:
        """Return the rows of the table."""
        one = "/api/orders/{id}"
        return [
            Route(
                "GET",
                one,
                "operate",
                self.look,
                "Look what has become of an order",
                answer=OrderState,
                codes=("unknown_order",),
            )
        ]

    async def look(self, asked: Asked) -> Reply:
        """Look what has become of an order."""
        found = self._orders.get(asked.names["id"])
        if found is None:
            raise Problem("unknown_order", f"there is no order {asked.names['id']!a} here")
        return Reply(encode(found.describe()))

    async def carry_out(
        self, asked: Asked, who: Who, order: str, work: Callable[[], Awaitable[Reply]]
    ) -> Reply:
        """Carry out an order, or join one that was given before with the same key.

        Args:
            asked: The request; its headers say how its sender wants it.
            who: Who sends it.
            order: What is ordered.
            work: Does it, and never raises.

        Raises:
            Problem: ``bad_field`` or ``conflict``: the key is too long, or was used for another
                request.
        """
        key = asked.headers.get("idempotency-key")
        waits = "respond-async" not in asked.headers.get("prefer", "").lower()
        if key is None and waits:
            return await work()
        found = await self._begin(asked, who, order, work, key)
        if not waits:
            headers = {"Location": f"{_up(asked.path)}orders/{found.id}"}
            reply = Reply(encode(found.describe()), HTTPStatus.ACCEPTED, headers=headers)
            reply.headers["Preference-Applied"] = "respond-async"
            return reply
        await asyncio.wait([found.task])
        return found.reply()

    async def close(self) -> None:
        """Cancel what is under way: the host ends before it does."""
        running = [one.task for one in self._orders.values() if not one.task.done()]
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)

    async def _begin(
        self,
        asked: Asked,
        who: Who,
        order: str,
        work: Callable[[], Awaitable[Reply]],
        key: str | None,
    ) -> _Order:
        body = await whole_body(asked)
        digest = hashlib.sha256(body).digest()
        place = (who.name, f"{asked.method} {asked.path}", _checked(key)) if key else None
        if place is not None and (found := self._by_key.get(place)) is not None:
            if found.request != digest:
                raise Problem(
                    "conflict",
                    "this Idempotency-Key was used for another body",
                    next="take another key for another order",
                )
            return found

        async def read() -> bytes:
            return body

        asked.read = read
        # The answer is kept as a whole, so it shows no progress.
        asked.headers = {name: one for name, one in asked.headers.items() if name != "accept"}
        made = _Order(order, asked.names.get("name"), who.name, digest, _started(work()))
        self._orders[made.id] = made
        if place is not None:
            self._by_key[place] = made
            made.task.add_done_callback(lambda _: self._release(place))
        self._forget()
        return made

    def _release(self, place: _Place) -> None:
        """Let a key be used again whose request was no order at all, such as one with bad JSON."""
        found = self._by_key.get(place)
        if found is None or found.task.cancelled():
            return
        if found.task.result().status == HTTPStatus.BAD_REQUEST:
            del self._by_key[place]

    def _forget(self) -> None:
        """Forget the oldest orders that have ended, beyond those that are kept."""
        ended = [one for one in self._orders.values() if one.task.done()]
        for one in ended[: max(0, len(self._orders) - _KEPT)]:
            del self._orders[one.id]
        kept = set(map(id, self._orders.values()))
        self._by_key = {place: one for place, one in self._by_key.items() if id(one) in kept}


def _started(work: Awaitable[Reply]) -> asyncio.Task[Reply]:
    async def run() -> Reply:
        return await work

    return asyncio.create_task(run(), name="vconnect order")


def _checked(key: str) -> str:
    if len(key) > MAX_KEY_CHARS:
        raise field_problem(
            "bad_field", "Idempotency-Key", f"{len(key)} characters; at most {MAX_KEY_CHARS}"
        )
    return key


def _up(path: str) -> str:
    """Return what leads from an order's path to ``/api/``: any prefix may be before that."""
    return "../" * (path.count("/") - 2)
