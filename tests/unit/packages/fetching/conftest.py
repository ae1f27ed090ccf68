"""A server, and names that the resolver knows, without anything of whoever runs the tests."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support.download_kit import Server, running_server


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what is set for whoever runs the tests out of them."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with running_server() as made:
        yield made


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What the resolver says next of a name; the last word holds."""
    known: dict[str, list[str]] = {}
    loop_class = asyncio.BaseEventLoop
    getaddrinfo = loop_class.getaddrinfo

    async def look_up(loop: Any, host: str, port: int, **options: Any) -> Any:
        if host not in known:
            return await getaddrinfo(loop, host, port, **options)
        words = known[host]
        address = words.pop(0) if len(words) > 1 else words[0]
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [(family, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(loop_class, "getaddrinfo", look_up)
    return known
