"""Packages, keys and logs over the administration interface of a real host, by its client."""

from __future__ import annotations

import asyncio
import io
import re
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.lab import Lab, until_status

from vconnect import AdminClient, AdminServer, PluginRuntimeManager
from vconnect.admin.answers import LogRow
from vconnect.errors import AdminError
from vconnect.packages.pack import pack
from vconnect.trust.files import write_signature
from vconnect.trust.signing import generate, sign

PAGE = Path(__file__).parents[2] / "docs" / "administration.md"
TALKER = """
import threading
print("ERROR began", flush=True)
serve()
"""


def package(lab: Lab, version: str, code: str = TALKER, name: str = "one") -> Path:
    source = lab.source(name, code, below=f"source-{version}", version=version)
    return pack(source, lab.directory / f"{name}-{version}.vp").path


@asynccontextmanager
async def hosted(
    lab: Lab, **options: Any
) -> AsyncIterator[tuple[PluginRuntimeManager, AdminClient]]:
    """Run a host with an administration socket, and a client of it."""
    async with lab.manager(**options) as runtime:
        server = AdminServer(runtime, lab.directory / "run" / "admin.sock")
        await server.start()
        try:
            async with AdminClient(lab.directory / "run" / "admin.sock") as client:
                yield runtime, client
        finally:
            await server.stop()


async def test_a_package_is_sent_installed_and_removed(lab: Lab) -> None:
    file = package(lab, "1")
    async with hosted(lab) as (runtime, client):
        source = await client.send_package(file)
        file.unlink()
        (change,) = await client.install([source])
        assert (change["name"], change["result"]) == ("one", "installed"), change
        assert source == f"sha256:{change['digest']}"
        assert (await client.status("one")).status == "Running"
        (version,) = await client.versions("one")
        assert version["source"] == source
        # What was sent is the source; it has nothing newer.
        (row,) = await client.outdated(["one"])
        assert (row["state"], row["available"]) == ("current", "1")
        (change,) = await client.install([f"sha256:{'0' * 64}"])
        assert (change["result"], "send it again" in change["reason"]) == ("failed", True)
        (change,) = await client.remove("one", dry_run=True)
        assert change["result"] == "planned"
        (change,) = await client.remove("one")
        assert change["result"] == "removed"
        with pytest.raises(AdminError) as caught:
            await client.remove("one")
        assert caught.value.code == "unknown_plugin"
        assert runtime.runtime_summaries() == []
        orders = [record.order for record in await client.audit()]
    assert orders == ["send", "install", "install", "uninstall", "uninstall", "uninstall"]


async def test_what_others_require_is_not_removed_but_by_force(lab: Lab) -> None:
    file = package(lab, "1")
    other = lab.source("two", "serve()", below="source-two", version="1", requires=["one"])
    async with hosted(lab) as (_, client):
        await client.install([str(file), str(pack(other, lab.directory / "two.vp").path)])
        (change,) = await client.remove("one")
        assert (change["result"], change["code"]) == ("failed", "conflict"), change
        (change,) = await client.remove("one", force=True)
        assert change["result"] == "removed"


async def test_only_keys_that_are_trusted_over_the_interface_count(lab: Lab) -> None:
    secret = generate()
    file = package(lab, "1")
    with file.open("rb") as content:
        write_signature(file, sign(content, secret, ""))
    trust = lab.directory / "vconnect.trust"
    async with hosted(lab, trust_file=trust, require_signature=True) as (_, client):
        (change,) = await client.install([str(file)])
        assert (change["result"], change["code"]) == ("failed", "not_verified")
        key = await client.trust(secret.public_key().text(), plugins=["one"])
        assert [one.id for one in await client.trusted()] == [key.id]
        (change,) = await client.install([str(file)])
        assert change["result"] == "installed", change
        text = (successor := generate()).public_key().text()
        handover = sign(io.BytesIO(text.encode()), secret, "").text()
        added = await client.trust(text, succeeds=key.id, signature=handover)
        assert (added.id, added.succeeds) == (successor.public_key().id, key.id)
        await client.untrust(key.id, revoke=True, reason="stolen")
        (row,) = await client.verify(["one"])
        assert "stolen" in row["revoked"]


async def test_indexes_that_are_not_there_are_told_with_the_next_step(lab: Lab) -> None:
    async with hosted(lab) as (_, client):
        for ask in (client.search, client.info):
            with pytest.raises(AdminError) as caught:
                await ask("x")
            assert (caught.value.status, caught.value.code) == (409, "install_error")
            assert "index = true" in caught.value.next


async def test_the_logs_of_all_are_read_and_followed_through_a_restart(lab: Lab) -> None:
    for name in ("one", "two"):
        lab.plugin(name, TALKER)
    async with hosted(lab) as (runtime, client):
        await runtime.discover_plugins()
        await runtime.start_plugin("one")
        async with aclosing(client.follow_logs()) as following, asyncio.timeout(20):
            seen: set[tuple[str | None, str]] = set()

            async def until_seen(plugin: str, stream: str) -> None:
                while (plugin, stream) not in seen:
                    row = await anext(following)
                    assert isinstance(row, LogRow)
                    seen.add((row.plugin, row.stream))

            await until_seen("one", "stdout")
            await runtime.start_plugin("two")
            await until_seen("two", "stdout")
            seen.clear()
            await client.restart("one")
            await until_seen("one", "stdout")
            await until_seen("one", "host")
        await until_status(runtime, "two", "Running")
        errors = await client.all_logs(["t*"], level="error", grep="began")
        assert [(row.plugin, row.text) for row in errors] == [("two", "ERROR began")]
        times = [row.time for row in await client.all_logs()]
        assert times == sorted(times)


def programs() -> list[str]:
    """The programs of the page's section for Python."""
    section = PAGE.read_text(encoding="utf-8").partition("\n## From Python\n")[2]
    return re.findall(r"^```python\n(.*?)^```", section, re.MULTILINE | re.DOTALL)


async def test_the_program_of_the_page_asks_and_orders(lab: Lab) -> None:
    code = programs()[0].replace("/run/vconnect/admin.sock", str(lab.directory / "run/admin.sock"))
    file = lab.directory / "program.py"
    file.write_text(code)
    lab.plugin("word-filter", TALKER)
    async with hosted(lab) as (runtime, _):
        await runtime.discover_plugins()
        await runtime.start_all()

        async def run() -> str:
            program = await asyncio.create_subprocess_exec(sys.executable, file, stdout=PIPE)
            output, _ = await program.communicate()
            assert program.returncode == 0
            return output.decode()

        assert (await run()).startswith("word-filter running")
        assert runtime.summary("word-filter").generation == 2
        await runtime.packages.uninstall(["word-filter"])
        assert (await run()) == "unknown_plugin see vconnect list\n"


async def test_the_program_of_the_page_follows_logs(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    names: dict[str, Any] = {}
    exec(programs()[1], names)
    for name in ("word-filter", "chat-1", "other"):
        lab.plugin(name, TALKER)
    async with hosted(lab) as (runtime, client):
        await runtime.discover_plugins()
        await runtime.start_all()
        task = asyncio.create_task(names["follow"](client))
        printed = ""
        async with asyncio.timeout(20):
            while not ("'word-filter'" in printed and "'chat-1'" in printed):
                await asyncio.sleep(0.05)
                printed += capsys.readouterr().out
        task.cancel()
        await asyncio.wait([task])
    assert "'other'" not in printed
