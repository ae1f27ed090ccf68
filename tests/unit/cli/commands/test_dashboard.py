"""``vconnect dashboard``, against a real server over TCP."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.fake_manager import FakeManager, plugin_summary, short_directory

from vconnect import AdminClient, AdminError, AdminServer


@pytest.mark.parametrize("http", [None, "127.0.0.1:0"])
async def test_an_address_is_given_if_there_is_a_page(http) -> None:
    with short_directory() as directory:
        path = directory / "a.sock"
        server = AdminServer(FakeManager(plugin_summary()), path, http=http)
        await server.start()
        async with AdminClient(path) as client:
            if http is None:
                with pytest.raises(AdminError, match="no page over TCP"):
                    await client.login_url()
            else:
                url = (await client.login_url())["url"]
                assert url.startswith(f"{server.url}#/login/")
        await server.stop()
        await asyncio.sleep(0)
