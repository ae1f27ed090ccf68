"""Workers beside each other."""

from __future__ import annotations

import hashlib

import aiohttp
from tests.support.fake_manager import FakeManager, plugin_summary, short_directory

from vconnect import AdminServer
from vconnect.settings.model import Settings


async def test_each_worker_lists_all_and_passes_requests_on() -> None:
    with short_directory() as directory:
        first, second = FakeManager(plugin_summary("one")), FakeManager(plugin_summary("two"))
        servers = [
            AdminServer(manager, directory / f"{name}.admin.sock", name=name)
            for manager, name in ((first, "w1"), (second, "w2"))
        ]
        for server in servers:
            await server.start()
        (directory / "dead.admin.sock").touch()
        connector = aiohttp.UnixConnector(str(directory / "w1.admin.sock"))
        async with aiohttp.ClientSession(connector=connector) as session:
            async with session.get("http://localhost/api/hosts") as answer:
                hosts = (await answer.json())["items"]
            assert [(one["name"], one["is_this"]) for one in hosts] == [("w1", True), ("w2", False)]
            other = f"http://localhost/api/hosts/{hosts[1]['id']}"
            async with session.get(f"{other}/api/plugins?sort=name") as answer:
                assert [one["name"] for one in (await answer.json())["plugins"]] == ["two"]
            async with session.post(f"{other}/api/plugins/two/stop", json={}) as answer:
                assert answer.status == 200
            assert second.calls == [("stop", "two")]
            async with session.get("http://localhost/api/hosts/w9:1/api/plugins") as answer:
                assert (await answer.json())["code"] == "unknown_host"
            await servers[1].stop()
            async with session.get("http://localhost/api/hosts") as answer:
                assert len((await answer.json())["items"]) == 1
        await servers[0].stop()


async def test_a_directory_is_enough_for_a_worker() -> None:
    with short_directory() as directory:
        server = AdminServer(FakeManager(), directory, name="chat server")
        await server.start()
        (made,) = directory.glob("chat-server-*.admin.sock")
        assert made.is_socket()
        await server.stop()


async def test_a_package_for_another_worker_is_passed_on_as_it_comes() -> None:
    body = bytes(1 << 18)
    digest = hashlib.sha256(body).hexdigest()
    with short_directory() as directory:
        settings = Settings(plugin_dir=str(directory / "plugins"), max_frame_bytes=1 << 16)
        servers = [
            AdminServer(FakeManager(settings=settings), directory / f"{name}.admin.sock", name=name)
            for name in ("w1", "w2")
        ]
        for server in servers:
            await server.start()
        connector = aiohttp.UnixConnector(str(directory / "w1.admin.sock"))
        async with aiohttp.ClientSession(connector=connector) as session:
            async with session.get("http://localhost/api/hosts") as answer:
                other = (await answer.json())["items"][1]["id"]
            url = f"http://localhost/api/hosts/{other}/api/blobs/{digest}"
            headers = {"Content-Type": "application/octet-stream"}
            async with session.put(url, data=body, headers=headers) as answer:
                assert (answer.status, (await answer.json())["source"]) == (201, f"sha256:{digest}")
        assert (directory / "plugins" / "blobs" / digest).read_bytes() == body
        for server in servers:
            await server.stop()
