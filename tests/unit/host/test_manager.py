"""The object that owns the others: what it opens, what it closes and what it refuses."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from pathlib import Path
from typing import Any

import pytest
from tests.support.lab import ECHO, Lab, until
from tests.support.paper import opened, plugin, unopened

from vconnect import PluginRuntimeManager
from vconnect.dispatch.origin import Origin
from vconnect.errors import (
    ConfigError,
    InstallError,
    NotOpenError,
    PluginReplyError,
    PluginStartError,
    PluginTimeoutError,
    PluginUnavailableError,
    SocketError,
    StateError,
    UnknownPluginError,
)
from vconnect.host.roster import stop_order
from vconnect.plugins.runtime import PluginRuntime
from vconnect.plugins.status import PluginStatus, Substate
from vconnect.settings.model import PluginOptions, Settings
from vconnect.version import host_version


def knowing(*plugins: PluginRuntime, **options: Any) -> PluginRuntimeManager:
    """A manager without a socket that knows these plugins."""
    made = PluginRuntimeManager(**options)
    for one in plugins:
        made._registry.add(one)
    made._open_sending()
    return made


# --- settings --------------------------------------------------------------------------------


def test_options_go_over_the_settings_and_are_checked_with_them():
    settings = Settings(window=5, max_queued=7)
    made = PluginRuntimeManager(settings, window=6, plugin_dir=Path("/p"))
    assert (made.settings.window, made.settings.max_queued) == (6, 7)
    assert made.settings.plugin_dir == "/p"
    assert settings.window == 5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"windw": 5}, "windw"),
        ({"window": 0}, "window"),
        ({"window": "5x"}, "window"),
        ({"guardian": "maybe"}, "guardian"),
    ],
)
def test_an_option_that_is_none_or_wrong_is_named(options, words):
    with pytest.raises(ConfigError, match=words):
        PluginRuntimeManager(**options)


def test_tables_of_structs_may_be_given_as_they_are():
    made = PluginRuntimeManager(options={"a": PluginOptions(window=3)})
    assert made.settings.plugin_policy("a").window == 3


# --- open and close --------------------------------------------------------------------------


async def test_it_listens_while_it_is_open(lab: Lab):
    async with lab.manager() as made:
        assert lab.socket.is_socket()
        summary = made.host_summary()
        assert (summary.pid, summary.version) == (os.getpid(), host_version())
        assert (summary.socket_path, summary.plugins) == (str(lab.socket), 0)
        assert summary.loop == "asyncio"
        assert 0 <= summary.uptime_s < 60
    assert not lab.socket.exists()


async def test_closing_twice_and_closing_what_was_never_open_is_no_mistake(lab):
    async with lab.manager() as made:
        await made.close()
    await PluginRuntimeManager(plugin_dir=lab.plugins, socket_path=lab.socket).close()


async def test_a_block_that_raises_is_closed_too(lab):
    with pytest.raises(ZeroDivisionError):
        async with lab.manager():
            raise ZeroDivisionError
    assert not lab.socket.exists()


async def test_a_second_host_is_refused_before_it_changes_anything(lab):
    async with lab.manager():
        second = lab.manager(dev_plugins=["a:/nowhere"], plugin_dir=lab.directory / "other")
        with pytest.raises(SocketError):
            async with second:
                pass
        assert not (lab.directory / "other").exists()
        assert lab.socket.is_socket()


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"dev_plugins": ["a b:/nowhere"]}, ConfigError),
        ({"install": ["/nowhere/x.vp"]}, InstallError),
        ({"install": ["ftp://x.org/x.vp"]}, InstallError),
    ],
)
async def test_what_fails_at_the_opening_leaves_nothing(lab, options, kind):
    with pytest.raises(kind):
        async with lab.manager(**options):
            raise AssertionError("it is not open")
    assert not lab.socket.exists()


async def test_a_state_file_of_a_newer_host_is_left_as_it_is(lab):
    async with lab.manager() as made:
        file = made._state._file.path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text('{"version": 999}')
    with pytest.raises(StateError, match="999"):
        async with lab.manager():
            pass
    assert file.read_text() == '{"version": 999}'


@pytest.mark.parametrize(
    ("options", "words"),
    [({"debug": True}, "debug mode enabled"), ({"log_level": "warn"}, "log level: warn")],
)
async def test_what_was_chosen_is_in_the_log(lab, caplog, options, words):
    caplog.set_level(logging.INFO)
    async with lab.manager(**options):
        pass
    assert words in caplog.text
    async with lab.manager():
        pass
    assert caplog.text.count(words) == 1


# --- plugins ---------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["start_plugin", "stop_plugin", "restart_plugin"])
async def test_an_order_for_nobody_is_refused_and_not_remembered(lab, method):
    async with lab.manager() as made:
        with pytest.raises(UnknownPluginError):
            await getattr(made, method)("nobody")
        assert not made._state.wants_stopped("nobody")


async def test_summaries_come_by_name(lab):
    for name in ("b", "a", "c"):
        lab.plugin(name, "")
    async with lab.manager() as made:
        found = await made.discover_plugins()
        assert [one.name for one in found] == ["a", "b", "c"]
        assert [one.name for one in made.runtime_summaries()] == ["a", "b", "c"]
        assert made.summary("wk.plugin.b").name == "b"
        assert made.host_summary().plugins == 3


async def test_only_what_is_installed_is_discovered(lab, tmp_path):
    lab.plugin("a", "")
    async with lab.manager() as made:
        made.register_dev_plugin("wk.plugin.dev", tmp_path)
        assert [one.name for one in await made.discover_plugins()] == ["a"]
        assert [one.name for one in made.runtime_summaries()] == ["a", "dev"]


async def test_one_that_the_operator_stopped_stays_stopped_in_the_next_host(lab, caplog):
    caplog.set_level(logging.INFO)
    lab.plugin("a", "")
    async with lab.manager() as made:
        await made.discover_plugins()
        await made.stop_plugin("a")
    async with lab.manager() as made:
        await made.start_all()
        summary = made.summary("a")
        assert (summary.status, summary.generation) == (PluginStatus.INSTALLED, 0)
        assert summary.reason == "stopped by the operator"
    assert "to start it: vconnect start a" in caplog.text


async def test_guests_are_not_started(lab):
    async with lab.manager(allow_external=True) as made:
        made._catalog.register_external("guest")
        async with asyncio.timeout(10):
            await made.start_all()
        assert [one.generation for one in made.runtime_summaries()] == [0]


async def test_a_broken_one_is_tried_again_as_any_that_cannot_be_started(lab):
    manifest = lab.plugin("a", ECHO) / "plugin.json"
    manifest.write_text("{")
    async with lab.manager(restart="always", crash_hold=0.05) as made:
        async with asyncio.timeout(10):
            await made.start_all()
        assert made.summary("a").substate is Substate.BAD_MANIFEST
        manifest.write_text('{"name": "a"}')
        await until(lambda: made.summary("a").status == PluginStatus.RUNNING)


async def test_one_that_cannot_be_started_stops_nobody(lab):
    lab.plugin("a", "", requires=["nobody"])
    async with lab.manager() as made:
        await made.start_all()
        assert made.summary("a").status is PluginStatus.ERROR
        with pytest.raises(PluginStartError):
            await made.start_plugin("a")


@pytest.mark.parametrize(
    ("requires", "dependents"),
    [
        ({"a": (), "b": ()}, {"a": set(), "b": set()}),
        ({"a": (), "b": ("a",), "c": ("a", "b")}, {"a": {"b", "c"}, "b": {"c"}, "c": set()}),
        ({"a": ("gone:started",)}, {"a": set(), "gone": {"a"}}),
    ],
)
async def test_who_has_to_stop_before_whom(requires, dependents):
    made = knowing(*(plugin(name, requires=needs) for name, needs in requires.items()))
    supervisors = [made._roster.of(one) for one in made._registry]
    assert stop_order(supervisors) == dependents
    await made.close()


# --- logs ------------------------------------------------------------------------------------


def test_a_log_is_read_from_its_end_or_on_from_where_one_was():
    one = plugin("a")
    for number in range(5):
        one.log.say("info" if number % 2 else "error", str(number), {})
    made = knowing(one)
    texts = lambda page: [record.text for record in page.records]  # noqa: E731
    page = made.plugin_logs("wk.plugin.a", lines=2)
    assert texts(page) == ["3", "4"]
    assert texts(made.plugin_logs("a", level="error")) == ["0", "2", "4"]
    one.log.say("info", "5", {})
    assert texts(made.plugin_logs("a", after=page.next)) == ["5"]
    with pytest.raises(UnknownPluginError):
        made.plugin_logs("b")


# --- the native dialect ----------------------------------------------------------------------


async def test_a_classic_plugin_is_not_asked_for_what_it_does_not_know():
    one = plugin("a")
    one.session = unopened("a")
    made = knowing(one)
    with pytest.raises(PluginUnavailableError, match="speaks the classic dialect"):
        await made.ping("a")
    one.session = None
    with pytest.raises(PluginUnavailableError, match="not connected"):
        await made.ping("a")


async def test_a_ping_tells_how_long_it_took():
    one = plugin("a")
    async with opened("a", native=True) as (session, peer, _):
        one.session = session
        pinging = asyncio.create_task(knowing(one).ping("a"))
        asked = await peer.read()
        assert (asked["event"], asked["payload"]) == ("vconnect.ping", {})
        await peer.answer({"id": asked["id"], "status": "ok"})
        assert 0 < await pinging < 10


async def test_a_ping_ends_with_the_call_that_asks_for_it():
    one = plugin("a")
    async with opened("a", native=True) as (session, peer, _):
        one.session = session
        made = knowing(one)
        origin = Origin(made._dispatcher)
        origin.until = time.monotonic() + 0.05
        with origin.inherited(), pytest.raises(PluginTimeoutError):
            await made.ping("a", timeout=60.0)
        origin.end()
        assert (await peer.read())["event"] == "vconnect.ping"


@pytest.mark.parametrize("refused_at", [None, "vconnect.config.check", "vconnect.config.update"])
async def test_a_configuration_is_in_force_once_the_plugin_has_taken_it(refused_at):
    one = plugin("a", config={"x": 1, "y": 2})
    before = one.config
    async with opened("a", native=True) as (session, peer, _):
        one.session = session
        updating = asyncio.create_task(knowing(one).update_config("a", {"x": 3}))
        for event in ("vconnect.config.check", "vconnect.config.update"):
            asked = await peer.read()
            assert (asked["event"], asked["payload"]) == (event, {"config": {"x": 3, "y": 2}})
            status = "error" if event == refused_at else "ok"
            await peer.answer({"id": asked["id"], "status": status, "message": "too large"})
            if event == refused_at:
                break
        if refused_at is None:
            await updating
        else:
            with pytest.raises(PluginReplyError, match="too large"):
                await updating
    assert one.config == ({"x": 3} if refused_at is None else before)


def test_a_function_stays_what_it_was_when_plugins_may_call_it():
    made = PluginRuntimeManager()

    @made.host_call("sum")
    def add(call: Any) -> int:
        return sum(call.params["numbers"])

    assert callable(add)
    with pytest.raises(ConfigError, match="host call 'sum' is"):
        made.host_call("sum")(add)


# --- what it hears ---------------------------------------------------------------------------


@pytest.mark.parametrize("required", [True, False])
async def test_the_crash_loop_of_a_required_plugin_is_told_once(lab, required):
    async with lab.manager(options={"a": {"required": required}}) as made:
        one = plugin("a", options={"a": PluginOptions(required=required)})
        made._given_up(one)
        made._given_up(one)
        assert made.required_lost.done() is required
        if required:
            assert made.required_lost.result() == "a"


def test_a_subclass_may_stand_between_an_application_and_its_requests():
    class Counting(PluginRuntimeManager):
        count = 0

        def request(self, *asked: Any, **options: Any) -> Any:
            self.count += 1
            return super().request(*asked, **options)

    made = Counting()
    made._open_sending()
    made.request("nobody", "e", {}).close()
    assert made.count == 1


# --- one life --------------------------------------------------------------------------------


async def test_a_manager_that_was_closed_is_not_opened_again(tmp_path: Path):
    options: dict[str, Any] = {
        "plugin_dir": tmp_path / "p",
        "socket_path": tmp_path / "s" / "host.sock",
    }
    made = PluginRuntimeManager(**options)
    await made.open()
    lost = made.required_lost
    await made.close()
    assert lost is not None
    assert lost.cancelled()
    with pytest.raises(NotOpenError, match="create another one"):
        await made.open()
    async with PluginRuntimeManager(**options):  # neither socket nor lock is left
        pass


@pytest.mark.parametrize("name", ["", "vconnect.x", "x" * 256])
def test_names_that_a_host_call_may_not_have(name: str):
    with pytest.raises(ConfigError, match="host call's name"):
        PluginRuntimeManager().host_call(name)(print)


@pytest.mark.parametrize("values", [None, [1], "x"])
async def test_a_configuration_is_a_dictionary(values: Any):
    with pytest.raises(ConfigError, match="expected a dictionary"):
        await knowing(plugin("a")).update_config("a", values)
