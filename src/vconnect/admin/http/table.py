"""The table of routes: what there is, who may ask for it, and what it takes and gives.

The servers find a request's route here, and the OpenAPI document is made from the same rows.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from http import HTTPStatus
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import unquote_to_bytes

from .asked import Asked, Reply, Role
from .problems import Problem

Handler: TypeAlias = Callable[[Asked], Awaitable[Reply]]


class Route(NamedTuple):
    """A row.

    Attributes:
        method: The method; what answers GET answers HEAD, too.
        path: The path; a segment in braces takes anything, as one name.
        role: The role that it takes; ``None`` for none.
        handler: Answers it.
        summary: What it does, in a few words.
        body: The struct of its body; ``None`` for no body.
        query: The struct of its query; ``None`` for no keys.
        answer: The struct of its answer, or a list of one; ``None`` if it has no fixed form.
        order: What the audit calls it; empty if it changes nothing.
        codes: The codes of its own problems.
        media: The type of its answer, if that is not JSON.
        further_media: Other types that a client may ask for.
        status: The status of its answer, if all is well.
        is_hidden: Whether the document leaves it out: other rows say what it answers.
    """

    method: str
    path: str
    role: Role | None
    handler: Handler
    summary: str
    body: Any = None
    query: Any = None
    answer: Any = None
    order: str = ""
    codes: tuple[str, ...] = ()
    media: str = ""
    further_media: tuple[str, ...] = ()
    status: int = HTTPStatus.OK
    is_hidden: bool = False

    @property
    def may_be_repeated(self) -> bool:
        """Whether it is an order that takes an ``Idempotency-Key`` and ``Prefer``."""
        # Of what another host carries out, that one knows what its client wants. And bytes are sent
        # to their own digest: to send them again is the same.
        return bool(self.order) and not self.is_hidden and self.body is not bytes


class Table:
    """Finds the route of a request.

    Args:
        routes: The rows.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = list(routes)
        self._by_length: dict[int, list[tuple[tuple[str, ...], Route]]] = {}
        # Those whose last place takes all the rest.
        self._open: list[tuple[tuple[str, ...], Route]] = []
        for route in self.routes:
            pattern = tuple(route.path.strip("/").split("/"))
            if pattern[-1].endswith("*}"):
                self._open.append((pattern, route))
            else:
                self._by_length.setdefault(len(pattern), []).append((pattern, route))

    def find(self, asked: Asked) -> Route:
        """Return the route of a request, and set the names that stand in its path.

        A slash at the end makes no difference. A name is one segment, decoded once; it is only
        ever compared with names that are known, and never part of a file's path.

        Raises:
            Problem: ``unknown_route``, or ``method``.
        """
        segments = tuple(asked.path.strip("/").split("/"))
        matching: list[tuple[Route, dict[str, str]]] = []
        for pattern, route in (*self._by_length.get(len(segments), ()), *self._open):
            names = _match(pattern, segments)
            if names is not None:
                matching.append((route, names))
        # A word in the path is more specific than a name.
        matching.sort(key=lambda found: len(found[1]))
        method = "GET" if asked.method == "HEAD" else asked.method
        for route, names in matching:
            if route.method == method:
                asked.names = names
                return route
        if not matching:
            raise Problem("unknown_route", f"no such route: {asked.path}")
        allowed = sorted({route.method for route, _ in matching})
        if "GET" in allowed:
            allowed.append("HEAD")
        shown = ", ".join(allowed)
        raise Problem(
            "method",
            f"{asked.method} is not allowed on {asked.path}; allowed: {shown}",
            headers={"Allow": shown},
        )


def _match(pattern: tuple[str, ...], segments: tuple[str, ...]) -> dict[str, str] | None:
    names = {}
    if pattern[-1].endswith("*}"):
        if len(segments) < len(pattern):
            return None
        names[pattern[-1][1:-2]] = "/".join(segments[len(pattern) - 1 :])
        pattern = pattern[:-1]
        segments = segments[: len(pattern)]
    for wanted, given in zip(pattern, segments, strict=True):
        if wanted.startswith("{"):
            if not given:
                return None
            names[wanted[1:-1]] = unquote_to_bytes(given).decode("utf-8", "surrogateescape")
        elif wanted != given:
            return None
    return names
