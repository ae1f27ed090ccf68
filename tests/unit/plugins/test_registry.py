"""Names to plugins, events to routes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vconnect._names import MAX_CACHED_NAMES
from vconnect.errors import IllegalTransitionError, ManifestError, UnknownPluginError
from vconnect.packages.manifest import Manifest
from vconnect.plugins.registry import Registry
from vconnect.plugins.runtime import PluginRuntime
from vconnect.plugins.status import PluginStatus, Substate
from vconnect.processes.process import ExitStatus
from vconnect.seeing.summary import summarize
from vconnect.wire.messages import Handshake


def runtime(name: str, *capabilities: str, priority: int = 0, **options: Any) -> PluginRuntime:
    made = PluginRuntime(name, options.pop("path", None), options.pop("manifest", None), **options)
    if capabilities:
        shaken = Handshake(
            plugin=name, version="1", priority=priority, capabilities=tuple(capabilities)
        )
        made.session = SimpleNamespace(  # type: ignore[assignment]
            handshake=shaken,
            dialect="classic",
            interface="",
            permissions=(),
            withheld=(),
            in_flight=2,
            queued=0,
            max_queued=9,
            queued_bytes=0,
            displaced=0,
            late=1,
            unasked=0,
            dropped=3,
            subscriptions=(),
            peer=SimpleNamespace(pid=7),
        )
    return made


def registry(*runtimes: PluginRuntime) -> Registry:
    made = Registry()
    for one in runtimes:
        made.add(one)
    return made


def names(found: Any) -> list[str]:
    return [one.name for one in found]


def test_any_of_its_names_finds_it():
    manifest = Manifest(name="wk.plugin.shown", plugin_no="v.plugin.number")
    known = registry(runtime("x", path=Path("/p/wk.plugin.folder"), manifest=manifest))
    for name in ("x", "wk.plugin.x", "v.plugin.x", "shown", "number", "wk.plugin.folder"):
        assert known.get(name).name == "x"
    with pytest.raises(UnknownPluginError, match=r"y: no such plugin \(known: x\)"):
        known.get("wk.plugin.y")
    with pytest.raises(UnknownPluginError, match="known: none"):
        registry().get("y")


def test_a_source_directory_gives_no_name():
    known = registry(runtime("x", path=Path("/p/folder"), dev=True))
    assert known.find("folder") is None


def test_a_plugin_that_may_not_have_its_name_is_not_meant_by_it():
    mine = runtime("mybot", manifest=Manifest(name="mybot", plugin_no="bot"))
    evil = runtime("bot")
    known = registry(mine, evil)
    assert known.get("bot") is evil
    known.settle({"bot": "its name 'bot' belongs to mybot, which had it before"})
    assert known.get("wk.plugin.bot") is mine
    assert known.claimants("bot") == known.claimants("mybot")
    known.settle({})
    assert known.get("bot") is evil


def test_an_alias_of_two_means_neither_and_a_name_beats_an_alias():
    known = registry(
        runtime("a", manifest=Manifest(name="both")),
        runtime("b", manifest=Manifest(name="both", plugin_no="a")),
    )
    assert known.find("both") is None
    assert known.get("a").name == "a"
    known.add(runtime("b"))
    assert known.get("both").name == "a"
    assert (len(known), sorted(names(known))) == (2, ["a", "b"])


def test_routes_go_by_priority_then_name():
    known = registry(
        runtime("c", "message", priority=1),
        runtime("b", "message.*", priority=1),
        runtime("a", "*", priority=-5),
        runtime("d", "user", priority=9),
        runtime("e"),
    )
    assert names(known.routes.route("message.incoming").plugins) == ["b", "c", "a"]
    assert names(known.routes.route("user.online").plugins) == ["d", "a"]
    assert known.routes.route("message.incoming") is known.routes.route("message.incoming")


def test_a_table_is_never_changed():
    known = registry(runtime("a", "*"))
    before = known.routes
    known.get("a").retire_session()
    assert names(before.route("e").plugins) == ["a"]
    assert known.routes.route("e").plugins == ()


def test_made_up_events_do_not_fill_the_memory():
    known = registry(runtime("a", "*"))
    for n in range(MAX_CACHED_NAMES + 2):
        assert names(known.routes.route(f"e{n}").plugins) == ["a"]
    assert len(known.routes._routes) == 0
    assert len(known.policies) == 0


def test_a_life_in_summaries():
    plugin = runtime("a", path=Path("/p/a"), manifest=Manifest(name="a", version="0", priority=3))
    told = summarize(plugin)
    assert (told.status, told.version, told.priority, told.pid) == ("Installed", "0", 3, None)
    assert (told.uptime_s, told.dialect, told.in_flight, told.path) == (None, "", 0, "/p/a")
    plugin.move(PluginStatus.STARTING, Substate.SPAWNED)
    plugin.session = runtime("a", "message", priority=8).session
    plugin.move(PluginStatus.RUNNING, Substate.CONNECTED)
    told = summarize(plugin)
    assert (told.version, told.priority, told.capabilities) == ("1", 8, ("message",))
    assert (told.pid, told.dialect, told.in_flight) == (7, "classic", 2)
    assert told.uptime_s is not None
    assert told.uptime_s >= 0
    plugin.session, plugin.exit = None, ExitStatus(None, "SIGKILL")
    plugin.move(PluginStatus.ERROR, Substate.KILLED, "killed by SIGKILL")
    told = summarize(plugin)
    assert (told.reason, told.exit_code, told.exit_signal) == ("killed by SIGKILL", None, "SIGKILL")
    assert told.uptime_s is None
    with pytest.raises(IllegalTransitionError):
        plugin.move(PluginStatus.STOPPING, Substate.DRAINING)
    assert plugin.status is PluginStatus.ERROR
    assert not plugin.is_external
    assert runtime("x").is_external


def placed(name: str, **order: Any) -> PluginRuntime:
    return runtime(name, path=Path("/p"), manifest=Manifest(name=name, **order))


def test_a_newcomer_does_not_shut_out_who_was_there_before_it():
    bot = placed("bot", after=("filter",))
    newcomer = placed("aaa", before=("filter",), after=("bot",))
    known = registry(placed("filter"), bot, newcomer)
    known.rank(["bot", "filter", "aaa"])
    # Nobody runs, and the order of the starts is any.
    with pytest.raises(ManifestError, match=r"before and after form a cycle: .*aaa"):
        known.check_order(newcomer, newcomer.manifest)
    for name in ("filter", "bot"):
        known.check_order(known.get(name), known.get(name).manifest)


def test_one_that_is_not_installed_is_a_newcomer():
    bot = placed("bot", after=("filter",))
    known = registry(placed("filter", after=("bot",)), bot)
    known.rank(["bot"])
    with pytest.raises(ManifestError, match="form a cycle"):
        known.check_order(known.get("filter"), known.get("filter").manifest)
    known.check_order(bot, bot.manifest)
