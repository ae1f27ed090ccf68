"""Who is ready serves: `on_start` that waits, fails or is stopped, and what waits for it."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import suppress
from textwrap import dedent
from typing import Any

import pytest
from tests.support.lab import ECHO, Lab, is_alive, until, until_status

from vconnect import PluginRuntimeManager, PluginStatus
from vconnect.errors import PluginError, PluginStartError

# The two loops differ in how connections end and in nothing that readiness is made of.
BOTH_LOOPS = pytest.mark.both_loops

SDK = """
import asyncio
from pathlib import Path
import vconnect
class P(vconnect.Plugin):
    plugin_no = {name!r}
    version = {version!r}
    capabilities = ["e"]
    async def on_start(self):
        {on_start}
    async def on_stop(self):
        Path("stopped").touch()
    async def on_event(self, ctx):
        ctx.reply({{"by": self.version, "config": self.config}})
vconnect.run_plugin(P)
"""


def write(
    lab: Lab, name: str = "k", on_start: str = "pass", version: str = "1", **more: Any
) -> Any:
    """Write a plugin with the Python SDK into a plain directory, over an older one."""
    code = SDK.format(name=name, version=version, on_start="\n        ".join(on_start.split("\n")))
    return lab.plugin(name, dedent(code), version=version, **more)


async def answers(runtime: PluginRuntimeManager, name: str = "k") -> str:
    return str((await runtime.request(name, "e", {}))["by"])


@BOTH_LOOPS
async def test_until_it_is_ready_it_is_starting_and_gets_nothing(lab: Lab) -> None:
    directory = write(
        lab, on_start='while not Path("go").exists(): await asyncio.sleep(0.01)', capabilities=["e"]
    )
    async with lab.manager(events={"e": {"on_failure": "closed"}}) as runtime:
        starts = asyncio.create_task(runtime.start_all())
        await until(lambda: runtime.runtime_summaries() != [])
        await until(lambda: runtime.summary("k").substate == "initializing")
        assert runtime.summary("k").status is PluginStatus.STARTING
        with pytest.raises(PluginError):
            await runtime.request("k", "e", {})
        assert (await runtime.emit("e", {})).stopped_by == "k"
        assert not starts.done()
        (directory / "go").touch()
        await starts
        assert runtime.summary("k").status is PluginStatus.RUNNING
        assert await answers(runtime) == "1"


async def test_who_requires_it_waits_until_it_is_ready(lab: Lab) -> None:
    code = """
        from time import time
        Path("../../order").open("a").write("{} begins\\n")
        await asyncio.sleep(0.3)
        Path("../../order").open("a").write("{} is ready\\n")
    """
    write(lab, "web", dedent(code).strip().replace("{}", "web"), requires=["db"])
    write(lab, "db", dedent(code).strip().replace("{}", "db"))
    async with lab.manager() as runtime:
        await runtime.start_all()
        assert runtime.summary("web").status is PluginStatus.RUNNING
    assert lab.order() == ["db begins", "db is ready", "web begins", "web is ready"]


@pytest.mark.parametrize(
    ("on_start", "word"),
    [
        ("raise RuntimeError('no database')", "no database"),
        ("await asyncio.sleep(0.6); raise RuntimeError('lost it')", "lost it"),
        ("raise vconnect.ConfigError('no token')", "code 78.*no token"),
        ("import os; os._exit(78)", "code 78"),
        ("import os; os.kill(os.getpid(), 9)", "SIGKILL"),
        ("await asyncio.sleep(60)", "connected, but not ready within 1 s"),
    ],
)
async def test_a_new_version_that_does_not_get_ready_costs_no_event(
    lab: Lab, on_start: str, word: str
) -> None:
    write(lab)
    async with lab.manager(start_timeout=1.0) as runtime:
        await runtime.start_all()
        pid = runtime.summary("k").pid
        write(lab, on_start=on_start, version="2")
        restart = asyncio.create_task(runtime.restart_plugin("k"))
        asked = 0
        while not restart.done():
            assert await answers(runtime) == "1"
            asked += 1
        with pytest.raises(PluginStartError, match=word):
            await restart
        assert asked > 10
        summary = runtime.summary("k")
        assert (summary.status, summary.pid, summary.version) == ("Running", pid, "1")
        assert "the old one keeps running" in summary.reason
        assert summary.errors == 0


@BOTH_LOOPS
async def test_a_new_version_takes_over_only_when_it_is_ready(lab: Lab) -> None:
    write(lab)
    async with lab.manager() as runtime:
        await runtime.start_all()
        write(lab, on_start="await asyncio.sleep(0.5)", version="2")
        restart = asyncio.create_task(runtime.restart_plugin("k"))
        seen = [await answers(runtime)]
        while not restart.done():
            seen.append(await answers(runtime))
        await restart
        assert await answers(runtime) == "2"
        assert seen == sorted(seen)
        assert seen.count("1") > 10


@pytest.mark.parametrize("how", ["ConfigError", "code"])
async def test_a_configuration_that_is_refused_is_tried_once(lab: Lab, how: str) -> None:
    refusal = (
        "import os; os._exit(78)" if how == "code" else "raise vconnect.ConfigError('no token')"
    )
    directory = write(lab, on_start=f"Path('starts').open('a').write('x')\n{refusal}")
    async with lab.manager(restart="always", restart_delay=0.01, restart_max_delay=0.02) as runtime:
        await runtime.start_all()
        summary = runtime.summary("k")
        assert (summary.status, summary.substate) == ("Error", "bad_config")
        assert summary.reason.startswith("exited: code 78")
        assert summary.next_retry_at is not None
        assert summary.next_retry_at - time.time() > 200
        await asyncio.sleep(0.3)
        assert (directory / "starts").read_text() == "x"
        write(lab)
        await runtime.start_plugin("k")
        assert await answers(runtime) == "1"


@pytest.mark.parametrize("how", ["stop", "SIGTERM", "SIGINT"])
async def test_an_on_start_that_waits_is_cancelled(lab: Lab, how: str) -> None:
    on_start = """
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            Path("cancelled").touch()
            raise
    """
    directory = write(lab, on_start=dedent(on_start).strip())
    async with lab.manager(stop_timeout=8.0) as runtime:
        starts = asyncio.create_task(runtime.start_all())
        await until(lambda: runtime.runtime_summaries() != [])
        await until(lambda: runtime.summary("k").substate == "initializing")
        await asyncio.sleep(0.1)
        pid, began = runtime.summary("k").pid, time.monotonic()
        assert pid is not None
        if how == "stop":
            await runtime.stop_plugin("k")
        else:
            os.kill(pid, getattr(signal, how))
            await until_status(runtime, "k", "Stopped")
        assert time.monotonic() - began < 4
        await starts
        assert not is_alive(pid)
        assert (runtime.summary("k").exit_code, runtime.summary("k").exit_signal) == (0, None)
    assert (directory / "cancelled").exists()
    assert not (directory / "stopped").exists()


async def test_classic_plugins_and_old_sdks_are_ready_with_their_handshake(lab: Lab) -> None:
    lab.plugin("classic", "serve(ready=False)")
    lab.plugin(
        "old", "connection = Connection()\nconnection.greet(protocol_versions=[1])\ntime.sleep(60)"
    )
    async with lab.manager() as runtime:
        await runtime.start_all()
        assert {one.status for one in runtime.runtime_summaries()} == {PluginStatus.RUNNING}
        assert await runtime.request("classic", "e", 1) == {"echo": 1}


async def test_a_plugin_that_is_not_ready_may_call_the_host(lab: Lab) -> None:
    write(
        lab,
        on_start="self.words = await self.host.call('words.get')\nassert self.words == ['a']",
        permissions=["words.get"],
    )
    async with lab.manager() as runtime:
        runtime.host_call("words.get")(lambda _: ["a"])
        await runtime.start_all()
        assert runtime.summary("k").status is PluginStatus.RUNNING


async def test_a_new_version_has_its_own_permissions_while_it_gets_ready(lab: Lab) -> None:
    write(lab)
    async with lab.manager() as runtime:
        runtime.host_call("words.get")(lambda _: ["a"])
        await runtime.start_all()
        write(lab, on_start="await self.host.call('words.get')", version="2", permissions=["words"])
        await runtime.restart_plugin("k")
        assert await answers(runtime) == "2"


async def test_a_configuration_that_changes_meanwhile_arrives(lab: Lab) -> None:
    write(lab)
    async with lab.manager() as runtime:
        await runtime.start_all()
        write(lab, on_start="await asyncio.sleep(0.5)", version="2")
        restart = asyncio.create_task(runtime.restart_plugin("k"))
        await until(lambda: runtime.summary("k").substate == "replacing")
        await asyncio.sleep(0.3)
        await runtime.update_config("k", {"word": "new"})
        await restart
        await until(lambda: runtime.summary("k").status is PluginStatus.RUNNING)
        async with asyncio.timeout(10):
            while (answer := await runtime.request("k", "e", {}))["config"] != {"word": "new"}:
                await asyncio.sleep(0.01)
        assert answer["by"] == "2"


async def test_it_may_say_that_it_is_ready_more_than_once(lab: Lab) -> None:
    code = """
    connection = Connection()
    connection.greet(protocol_versions=[1], ready=False)
    for _ in range(3):
        connection.send({"call": "plugin.ready"})
    connection.send({"id": 7, "call": "plugin.ready"})
    for frame in connection.events():
        if "event" in frame:
            connection.send({"id": frame["id"], "status": "ok", "data": "here"})
        elif frame != {"id": 7, "status": "ok"}:
            sys.exit(9)
    """
    lab.plugin("eager", dedent(code))
    async with lab.manager() as runtime:
        await runtime.start_all()
        assert await runtime.request("eager", "e", {}) == "here"
        assert runtime.summary("eager").generation == 1


@BOTH_LOOPS
async def test_a_connection_lost_while_it_gets_ready_is_made_again(lab: Lab) -> None:
    code = """
    first = Connection()
    first.greet(protocol_versions=[1], ready=False)
    first.close()
    connection = Connection()
    connection.greet(protocol_versions=[1], ready=False)
    connection.send({"call": "plugin.ready"})
    for event in connection.events():
        connection.send({"id": event["id"], "status": "ok", "data": "here"})
    """
    lab.plugin("again", dedent(code))
    async with lab.manager() as runtime:
        await runtime.start_all()
        assert await runtime.request("again", "e", {}) == "here"


@pytest.mark.parametrize("value", ['"no"', "0", "[]"])
async def test_ready_is_a_boolean(lab: Lab, value: str) -> None:
    lab.plugin("odd", f"serve(protocol_versions=[1], ready={value})")
    async with lab.manager() as runtime:
        await runtime.start_all()
        summary = runtime.summary("odd")
        assert summary.substate == "handshake_refused"
        assert "expected true or false" in summary.reason


async def test_another_programs_plugin_is_starting_until_it_is_ready(lab: Lab) -> None:
    lab.source("guest", "", below="elsewhere")
    script = lab.directory / "elsewhere" / "guest" / "guest"
    code = """
    os.environ["VCONNECT_PLUGIN_NAME"] = "guest"
    connection = Connection()
    connection.greet(protocol_versions=[1], ready=False)
    sys.stdin.readline()
    connection.send({"call": "plugin.ready"})
    for event in connection.events():
        connection.send({"id": event["id"], "status": "ok", "data": "guest"})
    """
    lab.script(script, dedent(code))
    async with lab.manager(allow_external=True) as runtime:
        guest = await asyncio.create_subprocess_exec(
            script, "--socket", str(lab.socket), stdin=asyncio.subprocess.PIPE
        )
        try:
            await until(lambda: runtime.runtime_summaries() != [])
            await until(lambda: runtime.summary("guest").substate == "initializing")
            assert runtime.summary("guest").status is PluginStatus.STARTING
            assert guest.stdin is not None
            guest.stdin.write(b"\n")
            await until_status(runtime, "guest", "Running")
            assert await runtime.request("guest", "e", {}) == "guest"
        finally:
            guest.kill()
            await guest.wait()
        await until_status(runtime, "guest", "Stopped")


@BOTH_LOOPS
async def test_a_classic_plugin_that_disconnects_may_be_replaced_at_once(lab: Lab) -> None:
    code = """
    connection = Connection()
    connection.greet()
    for event in connection.events():
        if event["payload"] == "bad":
            connection.close()
            time.sleep(60)
        connection.send({"status": "ok", "data": os.getpid()})
    """
    lab.plugin("brittle", dedent(code))
    async with lab.manager(
        options={"brittle": {"on_disconnect": "replace"}}, restart="always", crash_limit=3
    ) as runtime:
        await runtime.start_all()
        first = await runtime.request("brittle", "e", {})
        with pytest.raises(PluginError):
            await runtime.request("brittle", "e", "bad")
        began = time.monotonic()
        await until(lambda: runtime.summary("brittle").status is PluginStatus.RUNNING)
        assert time.monotonic() - began < 3
        assert await runtime.request("brittle", "e", {}) != first
        # Whoever does so again and again is waited for.
        for _ in range(2):
            await until(lambda: runtime.summary("brittle").status is PluginStatus.RUNNING)
            with pytest.raises(PluginError):
                await runtime.request("brittle", "e", "bad")
        await asyncio.sleep(0.2)
        assert runtime.summary("brittle").substate == "disconnected"


@BOTH_LOOPS
async def test_a_second_cancellation_leaves_no_process_and_no_lock(lab: Lab) -> None:
    stubborn = (
        "for number in (2, 15): signal.signal(number, signal.SIG_IGN)\nserve()\ntime.sleep(60)"
    )
    lab.plugin("stubborn", stubborn)
    pids: list[int | None] = []

    async def host() -> None:
        async with lab.manager(stop_timeout=8.0) as runtime:
            await runtime.start_all()
            pids.append(runtime.summary("stubborn").pid)
            await asyncio.sleep(60)

    task = asyncio.create_task(host())
    await until(lambda: pids)
    began = time.monotonic()
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0.05)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - began < 5
    assert pids[0] is not None
    assert not is_alive(pids[0])
    lab.plugin("echo", ECHO)
    async with lab.manager() as runtime:
        await runtime.start_all()
        assert runtime.summary("echo").status is PluginStatus.RUNNING


async def test_another_programs_plugin_that_does_not_get_ready_is_disconnected(lab: Lab) -> None:
    async with lab.manager(allow_external=True, start_timeout=0.3, restart="always") as runtime:
        reader, writer = await asyncio.open_unix_connection(lab.socket)
        try:
            payload = b'{"plugin_no": "guest", "protocol_versions": [1], "ready": false}'
            writer.write(len(payload).to_bytes(4, "big") + payload)
            async with asyncio.timeout(10):
                await reader.read()  # up to the end
            await until_status(runtime, "guest", "Error")
            summary = runtime.summary("guest")
            assert (summary.substate, summary.next_retry_at) == ("start_timeout", None)
            assert "not ready within 0.3 s" in summary.reason
        finally:
            writer.close()
            await writer.wait_closed()


async def test_connecting_again_and_again_does_not_prolong_the_time_to_get_ready(lab: Lab) -> None:
    code = """
    while True:
        connection = Connection()
        connection.greet(protocol_versions=[1], ready=False)
        time.sleep(0.2)
        connection.close()
    """
    lab.plugin("restless", dedent(code))
    async with lab.manager(start_timeout=0.7) as runtime:
        async with asyncio.timeout(10):
            await runtime.start_all()
        summary = runtime.summary("restless")
        assert (summary.status, summary.substate) == ("Error", "start_timeout")
        assert "not ready within 0.7 s" in summary.reason


async def test_why_an_event_fails_while_a_plugin_gets_ready(lab: Lab) -> None:
    write(lab, on_start="await asyncio.sleep(0.5)")
    async with lab.manager() as runtime:
        starts = asyncio.create_task(runtime.start_all())
        await until(lambda: runtime.runtime_summaries() != [])
        await until(lambda: runtime.summary("k").substate == "initializing")
        with pytest.raises(PluginError, match="connected, and not ready yet"):
            await runtime.request("k", "e", {})
        await starts
        assert runtime.summary("k").reason == ""


async def test_a_closed_event_does_not_pass_a_plugin_that_initializes(lab: Lab) -> None:
    code = """
    connection = Connection()
    connection.greet(protocol_versions=[1], ready=False, capabilities=["g"])
    time.sleep(60)
    """
    lab.plugin("filter", code)
    async with lab.manager(events={"g": {"on_failure": "closed"}}, start_timeout=30) as runtime:
        await runtime.discover_plugins()
        starting = asyncio.create_task(runtime.start_plugin("filter"))
        await until(lambda: runtime.summary("filter").substate == "initializing")
        outcome = await runtime.emit("g", {})
        assert outcome.stopped_by == "filter"
        await runtime.stop_plugin("filter")
        with suppress(PluginStartError):
            await starting
