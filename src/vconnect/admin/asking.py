"""Who sends a request, as the kernel says it."""

from __future__ import annotations

from aiohttp import web

from vconnect.sockets.credentials import peer_of, user_in_words


def who_asks(request: web.Request) -> str:
    """Name the user of the process that asks, for the log."""
    if request.transport is None:
        return "somebody who has gone"
    return f"{user_in_words(peer_of(request.transport).uid)} over the administration socket"
