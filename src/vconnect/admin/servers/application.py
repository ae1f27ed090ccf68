"""Carries out a request: finds its route, checks who asks, and turns errors into problems."""

# The order of the checks is the policy. A request for another host learns nothing; then the route,
# so that a mistyped address is told from a missing token; then who asks and what they may do; then
# whether a page of another site has sent it. Nothing is done before all of that.

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from http import HTTPStatus

from vconnect.admin.access.guard import (
    CHANGES,
    Identifies,
    check_content_encoding,
    check_content_type,
    check_host,
    check_origin,
)
from vconnect.admin.http.asked import BYTES_TYPE, JSON_TYPE, Asked, Reply, Who
from vconnect.admin.http.audit import Audit
from vconnect.admin.http.orders import Orders
from vconnect.admin.http.problems import Problem, reply_to_error
from vconnect.admin.http.table import Route, Table

HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "; ".join(
        (
            *("default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self'"),
            *("connect-src 'self'", "base-uri 'none'", "form-action 'none'"),
            *("frame-ancestors 'none'", "require-trusted-types-for 'script'"),
        )
    ),
}
"""Headers of every answer. Of what is no page, a browser must not make one either."""


def to_slash(path: str) -> Reply:
    """Lead from a prefix to the page below it: all its links are relative.

    Args:
        path: The prefix, encoded, without the slash.
    """
    target = f"{path.rpartition('/')[2]}/"  # relative, for a proxy may have another prefix
    headers = {**HEADERS, "Location": target}
    return Reply(status=HTTPStatus.PERMANENT_REDIRECT, headers=headers)


class Application:
    """Answers requests, whichever server they come through.

    Args:
        table: The routes.
        audit: Writes down changes.
        orders: Carries out what changes something.
        count: Called with the route's path and the status of each answer.
    """

    def __init__(
        self,
        table: Table,
        audit: Audit,
        orders: Orders,
        count: Callable[[str, int], None] = lambda _, __: None,
    ) -> None:
        self._table = table
        self._orders = orders
        self._audit = audit
        self._count = count

    async def answer(
        self, asked: Asked, identify: Identifies, hosts: Collection[str] | None
    ) -> Reply:
        """Answer a request.

        Args:
            asked: The request.
            identify: Says who sends it.
            hosts: The names of this server; ``None`` if the application around it checks them.
        """
        path = "-"
        try:
            if hosts is not None:
                check_host(asked, hosts)
            route = self._table.find(asked)
            path = route.path
            reply = await self._carry_out(route, asked, identify)
        except Exception as error:  # noqa: BLE001 - the boundary: logged, and the host continues
            reply = reply_to_error(error, f"{asked.method} {asked.path}")
            self._audit.refuse(asked, reply.code)
        reply.headers = {**HEADERS, **reply.headers}
        self._count(path, reply.status)
        return reply

    async def _carry_out(self, route: Route, asked: Asked, identify: Identifies) -> Reply:
        who = self._check_who(route, asked, identify)
        if asked.method in CHANGES:
            check_origin(asked)
            check_content_encoding(asked)
            check_content_type(asked, expected=_content_type_of(route, asked))
        if not route.order or who is None:
            return await route.handler(asked)
        return await self._audited(route, asked, who)

    def _check_who(self, route: Route, asked: Asked, identify: Identifies) -> Who | None:
        """Return who asks; nobody needs to be known for a route without a role.

        Raises:
            Problem: ``no_token``, ``bad_token``, ``session_ended``, ``too_many_tries`` or ``role``.
        """
        if route.role is None:
            return None
        asked.who = identify(asked)
        if asked.who is None:
            raise Problem("no_token", "this needs a token", headers={"WWW-Authenticate": "Bearer"})
        if not asked.who.may(route.role):
            raise Problem(
                "role", f"this needs the role {route.role}; {asked.who.name} has {asked.who.role}"
            )
        return asked.who

    async def _audited(self, route: Route, asked: Asked, who: Who) -> Reply:
        async def work() -> Reply:
            began = time.monotonic()
            try:
                reply = await route.handler(asked)
            except Exception as error:  # noqa: BLE001 - as in `answer`
                reply = reply_to_error(error, f"{asked.method} {asked.path}")

            def note(code: str) -> None:
                self._audit.note(who, route.order, asked.names.get("name"), code or "ok", began)

            if reply.ended is None:
                note(reply.code)
            else:
                reply.ended.add_done_callback(lambda ended: note(ended.result()))
            return reply

        if route.may_be_repeated:
            return await self._orders.carry_out(asked, who, route.order, work)
        return await work()


def _content_type_of(route: Route, asked: Asked) -> str:
    # Of what another host carries out, that one knows whether it takes bytes.
    may_be_bytes = route.is_hidden and asked.method == "PUT"
    is_passed_on = may_be_bytes and asked.headers.get("content-type") == BYTES_TYPE
    return BYTES_TYPE if route.body is bytes or is_passed_on else JSON_TYPE
