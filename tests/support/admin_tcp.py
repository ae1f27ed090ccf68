"""A real manager with real plugins, and its administration interface over TCP on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from vconnect import PluginRuntimeManager
from vconnect.admin.servers.server import AdminServer

from .lab import ECHO, Lab
from .web import Web

OPERATE, VIEW = "operate-" + "o" * 32, "view-" + "v" * 32


@dataclass
class Tcp:
    """What a test talks to.

    Attributes:
        runtime: The manager; its plugin ``echo`` runs, ``down`` does not.
        server: The administration server.
        operate: A client with the token of that role.
        view: Likewise.
        nobody: A client without a token.
    """

    runtime: PluginRuntimeManager
    server: AdminServer
    session: aiohttp.ClientSession
    operate: Web
    view: Web
    nobody: Web

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.server.url.rstrip("/").rpartition(":")[2])

    def state(self) -> list[Any]:
        """What no request of a stranger may change."""
        return [
            (one.name, one.status, one.pid, one.generation, one.desired, one.is_disabled)
            for one in sorted(self.runtime.runtime_summaries(), key=lambda one: one.name)
        ]


def token_file(directory: Path, name: str, token: str, mode: int = 0o600) -> Path:
    """Write a token as an operator does."""
    file = directory / name
    file.write_text(f"{token}\n")
    file.chmod(mode)
    return file


@asynccontextmanager
async def admin_over_tcp(lab: Lab, **options: Any) -> AsyncIterator[Tcp]:
    """Run a host with an interface over TCP, with tokens of both roles."""
    lab.plugin("echo", ECHO)
    lab.plugin("down", "")
    async with lab.manager(**options) as runtime:
        await runtime.discover_plugins()
        await runtime.start_plugin("echo")
        server = AdminServer(
            runtime,
            lab.directory / "run" / "admin.sock",
            http="127.0.0.1:0",
            token_file=token_file(lab.directory, "operate", OPERATE),
            view_token_file=token_file(lab.directory, "view", VIEW),
        )
        await server.start()
        connector = aiohttp.TCPConnector(limit=0)
        jar = aiohttp.DummyCookieJar()
        try:
            async with aiohttp.ClientSession(connector=connector, cookie_jar=jar) as session:
                base = server.url.rstrip("/")
                webs = [Web(session, base, token) for token in (OPERATE, VIEW, None)]
                yield Tcp(runtime, server, session, *webs)
        finally:
            await server.stop()
