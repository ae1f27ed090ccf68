"""How the chat's plugins are administered: by the commands, and by the dashboard."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from vconnect import AdminServer, PluginRuntimeManager


class Administration(NamedTuple):
    """Where to administer the plugins.

    Attributes:
        socket: The Unix socket, for ``vconnect --admin``.
        address: The dashboard's address, for links; empty without a dashboard.
        login_url: The same with a code that logs in once, for the operator's terminal only.
    """

    socket: Path
    address: str = ""
    login_url: str = ""


@asynccontextmanager
async def administration(
    runtime: PluginRuntimeManager, directory: Path
) -> AsyncIterator[Administration]:
    """Serve the administration interface and the dashboard, on a free port of loopback."""
    socket = directory / "admin.sock"
    server = AdminServer(runtime, socket, http="127.0.0.1:0", name="chat")
    await server.start()
    try:
        yield Administration(socket, server.url or "", server.login_url or "")
    finally:
        await server.stop()
