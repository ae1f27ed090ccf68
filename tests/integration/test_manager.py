"""The manager as an application embeds it: plugins, events, sessions."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import Any

import pytest
from tests.support.kit_host import Peer
from tests.support.lab import ECHO, Lab, is_alive, until, until_status

from vconnect import (
    ConfigError,
    InstallError,
    PluginRuntimeManager,
    PluginStatus,
)
from vconnect.errors import (
    NotOpenError,
    PayloadError,
    PluginReplyError,
    PluginStartError,
    PluginTimeoutError,
    PluginUnavailableError,
    SocketError,
    UnknownPluginError,
)

pytestmark = pytest.mark.both_loops


async def connect(lab: Lab) -> Peer:
    return Peer(*await asyncio.open_unix_connection(lab.socket))


# --- events ----------------------------------------------------------------------------------


async def test_an_event_reaches_an_installed_plugin(lab: Lab) -> None:
    lab.plugin("echo", ECHO, version="1.2.3")
    async with lab.manager() as runtime:
        await runtime.start_all()
        outcome = await runtime.emit("message.incoming", {"content": "hello"})
        (result,) = outcome.results
        assert (result.plugin, result.ok) == ("echo", True)
        assert result.data == {"echo": {"content": "hello"}}
        summary = runtime.summary("echo")
    assert summary.status is PluginStatus.RUNNING
    assert summary.pid


async def test_a_chain_goes_by_priority_and_may_be_changed_and_stopped(lab: Lab) -> None:
    lab.plugin("last", "serve(priority=-5)")
    lab.plugin("second", "serve(lambda event: {'status': 'ok', 'flow': 'stop'}, priority=1)")
    lab.plugin("first", "serve(lambda event: {'status': 'ok', 'payload': {'n': 2}}, priority=9)")
    lab.plugin("equal", "serve(priority=9)")  # of the same priority: by name
    async with lab.manager() as runtime:
        await runtime.start_all()
        outcome = await runtime.emit("any.event", {"n": 1})
    assert [result.plugin for result in outcome.results] == ["equal", "first", "second"]
    assert outcome.results[0].data == {"echo": {"n": 1}}
    assert outcome.stopped_by == "second"
    assert outcome.payload == {"n": 2}


async def test_stop_inside_data_stops_as_well(lab: Lab) -> None:
    lab.plugin("a", "serve(lambda event: {'status': 'ok', 'data': {'flow': 'stop'}}, priority=1)")
    lab.plugin("b", ECHO)
    async with lab.manager() as runtime:
        await runtime.start_all()
        outcome = await runtime.emit("any.event", {})
    assert outcome.stopped_by == "a"
    assert len(outcome.results) == 1


async def test_a_fan_out_collects_every_answer_and_every_error(lab: Lab) -> None:
    lab.plugin("good", ECHO)
    lab.plugin("bad", "serve(lambda event: {'status': 'error', 'message': 'no'})")
    lab.plugin("deaf", "serve(capabilities=['other'])")
    async with lab.manager() as runtime:
        await runtime.start_all()
        outcome = await runtime.broadcast("any.event", {"n": 1})
    results = {result.plugin: result for result in outcome.results}
    assert set(results) == {"good", "bad"}
    assert results["good"].data == {"echo": {"n": 1}}
    assert (results["bad"].ok, results["bad"].error) == (False, "no")


async def test_one_plugin_is_asked_by_any_of_its_names(lab: Lab) -> None:
    lab.plugin("echo", ECHO, plugin_no="wk.plugin.parrot")
    async with lab.manager() as runtime:
        await runtime.start_all()
        for name in ("echo", "wk.plugin.echo", "v.plugin.echo", "parrot", "v.plugin.parrot"):
            assert await runtime.request(name, "e", [1]) == {"echo": [1]}
        for name in ("ech", "echo2", "plugin.echo"):
            with pytest.raises(UnknownPluginError):
                await runtime.request(name, "e", {})


async def test_capabilities_decide_who_is_asked(lab: Lab) -> None:
    lab.plugin("exact", "serve(capabilities=['message.incoming'])")
    lab.plugin("family", "serve(capabilities=['message'])")
    lab.plugin("level", "serve(capabilities=['user.*'])")
    lab.plugin("none", "serve(capabilities=[])")
    async with lab.manager() as runtime:
        await runtime.start_all()

        async def asked(event: str) -> list[str]:
            return [result.plugin for result in (await runtime.emit(event, {})).results]

        assert await asked("message.incoming") == ["exact", "family"]
        assert await asked("message.outgoing.late") == ["family"]
        assert await asked("user.online") == ["level"]
        assert await asked("user.device.added") == []
        assert await asked("messages") == []


async def test_an_error_answer_is_the_plugins_error(lab: Lab) -> None:
    lab.plugin("echo", "serve(lambda event: {'status': 'error', 'message': 'not today'})")
    async with lab.manager() as runtime:
        await runtime.start_all()
        with pytest.raises(PluginReplyError, match="not today"):
            await runtime.request("echo", "e", {})


async def test_what_is_no_json_never_leaves(lab: Lab) -> None:
    lab.plugin("echo", ECHO)
    async with lab.manager() as runtime:
        await runtime.start_all()
        with pytest.raises(PayloadError):
            await runtime.request("echo", "e", object())
        assert await runtime.request("echo", "e", 1) == {"echo": 1}


SLOW_ONCE = """
def answer(event):
    time.sleep(event["payload"].get("sleep", 0))
    return {"status": "ok", "data": event["payload"]["n"]}
serve(answer)
"""


async def test_a_late_answer_reaches_nobody_else(lab: Lab) -> None:
    lab.plugin("slow", SLOW_ONCE)
    async with lab.manager() as runtime:
        await runtime.start_all()
        began = time.monotonic()
        with pytest.raises(PluginTimeoutError):
            await runtime.request("slow", "e", {"n": -1, "sleep": 0.5}, timeout=0.1)
        assert time.monotonic() - began < 0.4
        answers = await asyncio.gather(
            *(runtime.request("slow", "e", {"n": n}) for n in range(1000))
        )
    assert answers == list(range(1000))


async def test_a_cancelled_call_leaves_the_others_alone(lab: Lab) -> None:
    lab.plugin("slow", SLOW_ONCE)
    async with lab.manager() as runtime:
        await runtime.start_all()
        first = asyncio.create_task(runtime.request("slow", "e", {"n": -1, "sleep": 0.3}))
        rest = [asyncio.create_task(runtime.request("slow", "e", {"n": n})) for n in range(20)]
        await until(lambda: runtime.summary("slow").in_flight == 21)
        first.cancel()
        rest[7].cancel()
        answers = await asyncio.gather(*rest, return_exceptions=True)
    assert isinstance(answers.pop(7), asyncio.CancelledError)
    assert answers == [n for n in range(20) if n != 7]


async def test_calls_in_flight_fail_at_once_when_their_plugin_dies(lab: Lab) -> None:
    lab.plugin("hang", "serve(lambda event: time.sleep(60))")
    lab.plugin("echo", ECHO)
    async with lab.manager() as runtime:
        await runtime.start_all()
        calls = [asyncio.create_task(runtime.request("hang", "e", {})) for _ in range(100)]
        await until(lambda: runtime.summary("hang").in_flight)
        os.kill(runtime.summary("hang").pid, signal.SIGKILL)
        began = time.monotonic()
        for error in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(error, PluginUnavailableError)
        assert time.monotonic() - began < 1.0
        summary = await until_status(runtime, "hang", "Error")
        assert summary.reason == "killed by SIGKILL"
        assert await runtime.request("echo", "e", 1) == {"echo": 1}


async def test_notify_waits_for_nobody_and_its_answers_are_dropped(lab: Lab) -> None:
    lab.plugin("echo", ECHO)
    async with lab.manager() as runtime:
        await runtime.start_all()
        assert [runtime.notify("e", n) for n in range(50)] == [1] * 50
        assert await runtime.request("echo", "e", "last") == {"echo": "last"}


GARBAGE = """
connection = Connection()
connection.greet()
for event in connection.events():
    connection.send_bytes({answer!r})
time.sleep(60)
"""


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (b"\xff\xff\xff\xff", "max_answer_bytes"),
        (b"\0\0\0\0", "empty frame"),
    ],
)
async def test_garbage_ends_the_connection_and_nothing_else(
    lab: Lab, answer: bytes, word: str
) -> None:
    lab.plugin("garbage", GARBAGE.format(answer=answer))
    lab.plugin("echo", ECHO)
    async with lab.manager() as runtime:
        await runtime.start_all()
        with pytest.raises(PluginUnavailableError, match=word):
            await runtime.request("garbage", "e", {})
        await until_status(runtime, "garbage", "Starting")
        assert word in runtime.summary("garbage").reason
        with pytest.raises(PluginUnavailableError):
            await runtime.request("garbage", "e", {})
        assert await runtime.request("echo", "e", 1) == {"echo": 1}


# --- handshakes and strangers ----------------------------------------------------------------


async def test_both_spellings_are_served_on_one_socket(lab: Lab) -> None:
    documented = {
        "type": "handshake",
        "plugin_no": "wk.plugin.documented",
        "version": "0.1.0",
        "priority": 1,
        "capabilities": ["message.incoming"],
    }
    original = {
        "capabilities": ["message", "room"],
        "name": "original",
        "priority": 2,
        "version": "0.2.0",
    }
    async with lab.manager(allow_external=True) as runtime:
        peers = [await connect(lab), await connect(lab)]
        for peer, handshake in zip(peers, (documented, original), strict=True):
            await peer.write(handshake)
            assert await peer.read() == {"status": "ok", "config": {}}
        chain = asyncio.create_task(runtime.emit("message.incoming", {"content": "hi"}))
        for peer, data in ((peers[1], "second"), (peers[0], "first")):
            event = await peer.read()
            assert event["event"] == event["event_type"] == "message.incoming"
            assert event["payload"] == {"content": "hi"}
            await peer.write({"status": "ok", "data": data})
        outcome = await chain
        assert [(r.plugin, r.data) for r in outcome.results] == [
            ("original", "second"),
            ("documented", "first"),
        ]
        summary = runtime.summary("original")
        assert (summary.status, summary.external) == ("Running", True)
        assert summary.pid == os.getpid()
        for peer in peers:
            await peer.close()
        await until_status(runtime, "original", "Stopped")
        await until_status(runtime, "documented", "Stopped")


async def test_a_stranger_is_refused_and_the_real_plugin_goes_on(lab: Lab) -> None:
    lab.plugin("echo", ECHO)
    async with lab.manager() as runtime:
        await runtime.start_all()
        for name in ("echo", "wk.plugin.echo", "somebody"):
            peer = await connect(lab)
            await peer.write({"plugin_no": name, "capabilities": ["*"]})
            refusal = await peer.read()
            assert (refusal["status"], refusal["code"]) == ("error", "stranger")
            assert refusal["message"]
            assert await peer.read() is None
            await peer.close()
        assert await runtime.request("echo", "e", 1) == {"echo": 1}
        assert [summary.name for summary in runtime.runtime_summaries()] == ["echo"]


async def test_a_stranger_is_refused_even_where_externals_are_allowed(lab: Lab) -> None:
    lab.plugin("echo", ECHO)
    async with lab.manager(allow_external=True) as runtime:
        await runtime.start_all()
        peer = await connect(lab)
        await peer.write({"plugin_no": "echo"})
        assert (await peer.read())["code"] == "stranger"
        await peer.close()
        assert await runtime.request("echo", "e", 1) == {"echo": 1}


async def test_one_name_has_one_connection(lab: Lab) -> None:
    async with lab.manager(allow_external=True) as runtime:
        first, second = await connect(lab), await connect(lab)
        await first.write({"name": "twin"})
        assert (await first.read())["status"] == "ok"
        await second.write({"plugin_no": "v.plugin.twin"})
        assert (await second.read())["code"] == "name_taken"
        assert runtime.summary("twin").status is PluginStatus.RUNNING
        await first.close()
        await second.close()
        await until_status(runtime, "twin", "Stopped")


async def test_an_external_plugin_is_stopped_and_let_in_again(lab: Lab) -> None:
    async with lab.manager(allow_external=True) as runtime:
        peer = await connect(lab)
        await peer.write({"name": "guest"})
        await peer.read()
        await runtime.stop_plugin("guest")
        assert await peer.read() is None
        await peer.close()
        assert runtime.summary("guest").status is PluginStatus.STOPPED
        peer = await connect(lab)
        await peer.write({"name": "guest"})
        assert (await peer.read())["code"] == "stopping"
        await peer.close()
        with pytest.raises(PluginStartError, match="another program"):
            await runtime.start_plugin("guest")
        peer = await connect(lab)
        await peer.write({"name": "guest"})
        assert (await peer.read())["status"] == "ok"
        with pytest.raises(PluginStartError, match="another program"):
            await runtime.restart_plugin("guest")
        await peer.close()
        await until_status(runtime, "guest", "Stopped")


async def test_another_process_takes_a_plugins_place_only_while_the_operator_has_stopped_it(
    lab: Lab,
) -> None:
    lab.plugin("echo", "serve()")
    async with lab.manager(allow_external=True) as runtime:
        await runtime.start_all()
        await runtime.stop_plugin("echo")
        peer = await connect(lab)
        await peer.write({"name": "echo"})
        assert (await peer.read())["status"] == "ok"
        for order in (runtime.start_plugin, runtime.restart_plugin):
            with pytest.raises(PluginStartError, match="serves in its place; end that first"):
                await order("echo")
        await peer.close()
        await until_status(runtime, "echo", "Stopped")
        await runtime.start_plugin("echo")
        assert runtime.summary("echo").pid is not None


async def test_the_name_of_a_plugin_that_waits_for_its_restart_is_taken(lab: Lab) -> None:
    lab.plugin("broken", "sys.exit(3)")
    async with lab.manager(allow_external=True) as runtime:
        await runtime.start_all()
        await until_status(runtime, "broken", "Error")
        peer = await connect(lab)
        await peer.write({"name": "broken"})
        assert (await peer.read())["code"] == "stranger"
        await peer.close()


async def test_the_configuration_is_the_defaults_and_the_operators_values(lab: Lab) -> None:
    code = """
    connection = Connection()
    connection.greet()
    for event in connection.events():
        connection.send({"status": "ok", "data": connection.config})
    """
    defaults = {"greeting": "hello", "limits": {"a": 1, "b": 2}, "words": ["x", "y"]}
    lab.plugin("echo", code, config=defaults)
    values = {"limits": {"b": 3}, "words": ["z"]}
    async with lab.manager(config={"wk.plugin.echo": values}) as runtime:
        await runtime.start_all()
        assert await runtime.request("echo", "e", {}) == {
            "greeting": "hello",
            "limits": {"a": 1, "b": 3},
            "words": ["z"],
        }


async def test_a_configuration_that_no_frame_holds_is_told(lab: Lab) -> None:
    lab.plugin("echo", ECHO, config={"text": "x" * 3000})
    async with lab.manager(max_frame_bytes=2048) as runtime:
        await runtime.start_all()
        summary = runtime.summary("echo")
    assert (summary.status, summary.substate) == ("Error", "handshake_refused")
    assert "configuration cannot be sent" in summary.reason


async def test_a_plugin_that_lost_its_connection_comes_back(lab: Lab) -> None:
    code = """
    while True:
        connection = Connection()
        connection.greet()
        for event in connection.events():
            if event["payload"] == "close":
                break
            connection.send({"status": "ok", "data": os.getpid()})
        connection.close()
        time.sleep(0.05)
    """
    lab.plugin("back", code)
    async with lab.manager() as runtime:
        await runtime.start_all()
        pid = await runtime.request("back", "e", {})
        with pytest.raises(PluginUnavailableError):
            await runtime.request("back", "e", "close")
        assert runtime.summary("back").status is PluginStatus.STARTING
        assert runtime.summary("back").substate == "disconnected"
        await until_status(runtime, "back", "Running")
        assert await runtime.request("back", "e", {}) == pid
        assert runtime.summary("back").generation == 1


# --- what is installed, and how it is named --------------------------------------------------


async def test_nothing_is_found_in_a_directory_that_does_not_exist(lab: Lab) -> None:
    async with lab.manager() as runtime:
        await runtime.start_all()
        assert runtime.runtime_summaries() == []
        assert (await runtime.emit("e", {})).results == []


async def test_a_plugin_without_a_manifest_runs_too(lab: Lab) -> None:
    directory = lab.plugin("bare", ECHO)
    (directory / "plugin.json").unlink()
    async with lab.manager() as runtime:
        await runtime.start_all()
        assert await runtime.request("bare", "e", 1) == {"echo": 1}


async def test_a_bad_manifest_is_told_and_mended(lab: Lab) -> None:
    directory = lab.plugin("echo", ECHO)
    lab.plugin("other", ECHO)
    (directory / "plugin.json").write_text('{"name": 7}')
    async with lab.manager() as runtime:
        await runtime.start_all()
        summary = runtime.summary("echo")
        assert (summary.status, summary.substate) == ("Error", "bad_manifest")
        assert str(directory / "plugin.json") in summary.reason
        assert "name" in summary.reason
        assert runtime.summary("other").status is PluginStatus.RUNNING
        with pytest.raises(PluginStartError, match="name"):
            await runtime.start_plugin("echo")
        (directory / "plugin.json").write_text('{"name": "echo"}')
        await runtime.start_plugin("echo")
        assert runtime.summary("echo").status is PluginStatus.RUNNING


async def test_plugins_come_and_go_on_disk(lab: Lab) -> None:
    async with lab.manager() as runtime:
        assert await runtime.discover_plugins() == []
        directory = lab.plugin("echo", ECHO, version="1")
        (summary,) = await runtime.discover_plugins()
        assert (summary.name, summary.version, summary.status) == ("echo", "1", "Installed")
        (directory / "plugin.json").unlink()
        (directory / "echo").unlink()
        directory.rmdir()
        assert await runtime.discover_plugins() == []
        with pytest.raises(UnknownPluginError, match="no such plugin"):
            runtime.summary("echo")


async def test_a_dev_plugin_wins_over_the_installed_one(lab: Lab) -> None:
    lab.plugin("echo", "serve(lambda event: {'data': 'installed', 'status': 'ok'})")
    source = lab.directory / "source"
    source.mkdir()
    lab.script(source / "plugin.py", "serve(lambda event: {'data': 'dev', 'status': 'ok'})")
    async with lab.manager(dev_plugins=[f"echo:{source}"]) as runtime:
        await runtime.start_all()
        assert await runtime.request("echo", "e", {}) == "dev"
        assert runtime.summary("echo").dev
        with pytest.raises(ConfigError, match="stop it first"):
            runtime.register_dev_plugin("echo", lab.directory)


async def test_a_second_host_on_the_socket_is_refused(lab: Lab) -> None:
    lab.plugin("echo", ECHO)
    async with lab.manager() as runtime:
        await runtime.start_all()
        with pytest.raises(SocketError, match=f"PID {os.getpid()}"):
            async with lab.manager():
                pass
        assert await runtime.request("echo", "e", 1) == {"echo": 1}


async def test_an_install_that_fails_keeps_the_host_from_starting(lab: Lab) -> None:
    broken = lab.directory / "broken.vp"
    broken.write_bytes(b"no archive")
    with pytest.raises(InstallError, match="broken"):
        async with lab.manager(install=[str(broken)]):
            pass
    async with lab.manager() as runtime:  # the socket is free again
        assert runtime.runtime_summaries() == []


async def test_a_server_that_is_away_does_not(lab: Lab) -> None:
    lab.plugin("echo", ECHO)
    async with lab.manager(install=["http://127.0.0.1:9/echo.vp"]) as runtime:
        await runtime.start_all()
        assert await runtime.request("echo", "e", 1) == {"echo": 1}


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"socket": "x"}, "socket_path"),
        ({"window": 0}, "window"),
        ({"handshake_timeout": "soon"}, "handshake_timeout"),
        ({"dev_plugins": ["nocolon"]}, "NAME:PATH"),
    ],
)
async def test_wrong_options_are_explained(options: dict[str, Any], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        PluginRuntimeManager(**options)


async def test_the_end_of_the_block_ends_everything(lab: Lab) -> None:
    lab.plugin("echo", ECHO)
    async with lab.manager() as runtime:
        await runtime.start_all()
        pid = runtime.summary("echo").pid
    assert pid
    assert not is_alive(pid)
    assert not lab.socket.exists()
    for call in (runtime.request, runtime.request_result):
        with pytest.raises(NotOpenError):
            await call("echo", "e", {})
    for send in (runtime.emit, runtime.broadcast, runtime.notify_when_room):
        with pytest.raises(NotOpenError):
            await send("e", {})
    with pytest.raises(NotOpenError):
        runtime.notify("e", {})
    for order in (runtime.start_plugin, runtime.restart_plugin, runtime.stop_plugin):
        with pytest.raises(NotOpenError):
            await order("echo")
    for all_of_them in (runtime.start_all, runtime.stop_all):
        with pytest.raises(NotOpenError, match="async with"):
            await all_of_them()
    await runtime.close()


async def test_a_closed_event_does_not_pass_before_the_start(lab: Lab) -> None:
    lab.plugin("filter", ECHO, capabilities=["m"])
    async with lab.manager(events={"m": {"on_failure": "closed"}}) as runtime:
        await runtime.discover_plugins()
        assert (await runtime.emit("m", {})).stopped_by == "filter"
        await runtime.start_all()
        assert (await runtime.emit("m", {})).stopped_by is None
        await runtime.stop_plugin("filter")  # the operator's decision
        assert (await runtime.emit("m", {})).stopped_by is None


@pytest.mark.parametrize("state", ["missing", "installed", "running", "stopped", "dead"])
async def test_an_event_does_not_pass_without_the_plugin_that_it_requires(
    lab: Lab, state: str
) -> None:
    if state != "missing":
        lab.plugin("filter", ECHO)
    lab.plugin("bot", ECHO)
    options = {"events": {"m": {"requires": ["wk.plugin.filter"]}}, "restart": "never"}
    async with lab.manager(**options) as runtime:
        if state == "installed":
            await runtime.discover_plugins()
        else:
            await runtime.start_all()
        if state == "stopped":
            await runtime.stop_plugin("filter")
        elif state == "dead":
            os.kill(runtime.summary("filter").pid or 0, signal.SIGKILL)
            await until_status(runtime, "filter", "Error")
        for outcome in (await runtime.emit("m", {}), await runtime.broadcast("m", {})):
            if state == "running":
                assert (outcome.stopped_by, outcome.refusal) == (None, None)
                continue
            assert outcome.stopped_by == "filter"
            assert outcome.refusal is not None
            assert outcome.refusal.code == "unavailable"
            assert outcome.refusal.plugin == "filter"


async def test_an_error_in_the_block_ends_everything_as_well(lab: Lab) -> None:
    lab.plugin("echo", ECHO)
    pids = []

    async def application() -> None:
        async with lab.manager() as runtime:
            await runtime.start_all()
            pids.append(runtime.summary("echo").pid)
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        await application()
    assert not is_alive(pids[0])


async def test_a_program_that_others_can_replace_is_not_run(lab: Lab, caplog) -> None:
    directory = lab.plugin("open", ECHO)
    directory.chmod(0o777)
    async with lab.manager() as runtime:
        await runtime.discover_plugins()
        with pytest.raises(
            PluginStartError, match=r"open can be changed by everybody \(mode 0777\)"
        ):
            await runtime.start_plugin("open")
        assert "insecure_paths" in runtime.summary("open").reason
    async with lab.manager(insecure_paths=True) as runtime:
        await runtime.discover_plugins()
        await runtime.start_plugin("open")
        assert "plugin open is not safe" in caplog.text
    directory.chmod(0o755)
    async with lab.manager() as runtime:
        await runtime.discover_plugins()
        await runtime.start_plugin("open")
