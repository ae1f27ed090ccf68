"""The interface as a part of another aiohttp application."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from .administration import Administration
from .asked import Asked, Role, Who
from .face import aiohttp_application
from .guard import Identifies
from .manager import Manager


def admin_app(
    runtime: Manager, authorize: Callable[[web.Request], Role | None], *, name: str = ""
) -> web.Application:
    """Create an aiohttp application, to be added below a path of another one.

    Args:
        runtime: The manager.
        authorize: Returns the role of a request's sender; ``None`` to refuse it.
        name: What the host is called; by default the machine's name.

    Raises:
        TypeError: ``authorize`` is not callable.
    """
    if not callable(authorize):
        raise TypeError(
            "authorize: expected a function that returns 'operate', 'view' or None for a request"
        )
    administration = Administration(runtime, name)

    def identify(request: web.Request) -> Identifies:
        def who(_: Asked) -> Who | None:
            role = authorize(request)
            return None if role is None else Who("the application", role, "application")

        return who

    limit = runtime.settings.max_frame_bytes
    # The application around it knows its own names.
    return aiohttp_application(administration.application, "application", identify, None, limit)
