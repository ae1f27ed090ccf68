"""The interface as a part of another aiohttp application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from aiohttp import web

from vconnect.admin.access.guard import Identifies, Said, ask_application, check_authorize
from vconnect.admin.manager import Manager

from .administration import Administration
from .face import aiohttp_application

#: Says what the sender of a request may do; ``None`` for nothing.
Authorize: TypeAlias = Callable[[web.Request], Said | Awaitable[Said]]


def admin_app(runtime: Manager, authorize: Authorize, *, name: str = "") -> web.Application:
    """Create an aiohttp application, to be added below a path of another one.

    Args:
        runtime: The manager.
        authorize: Returns the role of a request's sender, or the role and a name for the audit,
            such as ``("operate", "alice")``; ``None`` to refuse it. It may be ``async``, and may
            raise what aiohttp answers with.
        name: What the host is called; by default the machine's name.

    Raises:
        TypeError: ``authorize`` is not callable.
    """
    check_authorize(authorize, "request")
    administration = Administration(runtime, name)

    async def identify(request: web.Request) -> Identifies:
        return await ask_application(authorize, request)

    limit = runtime.settings.max_frame_bytes
    # The application around it knows its own names.
    app = aiohttp_application(administration.application, "application", identify, None, limit)

    async def end(_: web.Application) -> None:
        # Before the server waits for its connections: those of streams end only now.
        administration.is_stopping = True
        administration.stream.end()

    app.on_shutdown.append(end)
    return app
