"""Any name of a plugin is right wherever a plugin is named, and what is nobody's name is told."""

from __future__ import annotations

import pytest
from tests.support.lab import ECHO, ORDERLY, Lab
from tests.support.serving import Serve

from vconnect.errors import ConfigError, PluginStartError

pytestmark = pytest.mark.both_loops

REPLACING = """
connection = Connection()
connection.greet()
for event in connection.events():
    payload = {"from_uid": "eve"}
    connection.send({"status": "ok", "data": connection.config, "payload": payload})
"""
"""Answers with its configuration, and replaces the payload."""


async def test_the_tables_of_a_plugin_have_any_of_its_names(lab: Lab) -> None:
    lab.plugin("a", REPLACING, plugin_no="wk.plugin.number7", capabilities=["e"])
    options = {
        "config": {"number7": {"greeting": "hello"}},
        "options": {"v.plugin.number7": {"window": 3}},
        "events": {"e": {"may_change": {"number7": ["from_uid"]}}},
    }
    async with lab.manager(**options) as runtime:
        await runtime.start_all()
        outcome = await runtime.emit("e", {"from_uid": "ada"})
        assert outcome.results[0].data == {"greeting": "hello"}
        assert outcome.payload == {"from_uid": "eve"}
        plugin = runtime._registry.get("a")
        assert plugin.policy.window == 3


async def test_those_of_a_plugin_from_source_as_well(lab: Lab) -> None:
    source = lab.source("src", REPLACING, below=".", plugin_no="number7")
    (source / "plugin.json").write_text(
        '{"name": "a", "plugin_no": "number7", "dev": {"command": ["./src"]}}'
    )
    options = {"config": {"number7": {"greeting": "hello"}}}
    async with lab.manager(dev_plugins=[f"a:{source}"], **options) as runtime:
        await runtime.start_plugin("a")
        assert await runtime.request("a", "e", {}) == {"greeting": "hello"}


async def test_requirements_and_orders_have_any_name(lab: Lab) -> None:
    lab.plugin("a", ORDERLY, requires=["number-b"], after=["number-b"], capabilities=["e"])
    lab.plugin("b", ORDERLY, plugin_no="wk.plugin.number-b", capabilities=["e"])
    async with lab.manager() as runtime:
        await runtime.start_all()
        assert {summary.status for summary in runtime.runtime_summaries()} == {"Running"}
        outcome = await runtime.emit("e", {})
        assert [result.plugin for result in outcome.results] == ["b", "a"]
    assert lab.order() == ["begin b", "begin a", "end a", "end b"]


async def test_what_it_requires_is_told_with_the_nearest_name(lab: Lab) -> None:
    lab.plugin("needs", ECHO, requires=["bsae"])
    lab.plugin("base", ECHO)
    async with lab.manager() as runtime:
        await runtime.start_all()
        reason = runtime.summary("needs").reason
        assert reason == "requires bsae, which is not known to this host; did you mean 'base'?"


async def test_two_tables_for_one_plugin_stop_the_start(lab: Lab) -> None:
    lab.plugin("a", ECHO, plugin_no="number7")
    async with lab.manager(options={"a": {"window": 3}, "number7": {"required": True}}) as runtime:
        with pytest.raises(ConfigError, match=r"plugins\.options has 'a' and 'number7'"):
            await runtime.start_all()
        assert runtime.summary("a").status == "Installed"


def test_a_host_stops_for_two_tables_and_warns_of_a_name_of_nobody(lab: Lab) -> None:
    lab.plugin("auth", ECHO, plugin_no="number7")
    config = lab.directory / "vconnect.toml"
    config.write_text("[plugins.options.auht]\nwindow = 2\n[plugins.config.auht]\nx = 1\n")
    with Serve(lab, "--config", str(config)) as host:
        host.wait_until("auth", "Running")
        log = host.log.read_text()
    for table in ("options", "config"):
        words = f"plugins.{table}.'auht': no plugin is meant by that name; did you mean 'auth'?"
        assert log.count(f"WARNING {words}") == 1
    config.write_text("[plugins.options.auht]\nrequired = true\n")
    with Serve(lab, "--config", str(config)) as host:
        assert host.ends() == 2
        assert "plugins.options.'auht': the plugin is required" in host.log.read_text()
    config.write_text("[plugins.options.auth]\n[plugins.options.number7]\n")
    with Serve(lab, "--config", str(config)) as host:
        assert host.ends() == 2
        assert "plugins.options has 'auth' and 'number7'" in host.log.read_text()


async def test_a_newcomer_does_not_get_a_name_that_another_plugin_has(lab: Lab, caplog) -> None:
    lab.plugin("mybot", ECHO, plugin_no="wk.plugin.bot")
    async with lab.manager() as runtime:
        await runtime.start_all()
    # Put there by hand: what an installation refuses.
    lab.plugin("bot", "serve(lambda event: {'status': 'ok', 'data': 'evil'})")
    lab.plugin("other", "serve(lambda event: {'status': 'ok', 'data': 'evil'})", plugin_no="bot")
    for _ in range(2):  # the decision outlives the host
        async with lab.manager() as runtime:
            await runtime.start_all()
            assert runtime.summary("mybot").status == "Running"
            assert await runtime.request("wk.plugin.bot", "e", 1) == {"echo": 1}
            refused = {one.name: one for one in runtime.runtime_summaries() if one.name != "mybot"}
            assert set(refused) == {"bot", "other"}
            for summary in refused.values():
                assert (summary.status, summary.substate) == ("Error", "bad_manifest")
                assert "its name 'bot' belongs to mybot, which had it before" in summary.reason
    assert "plugin bot (" in caplog.text
    assert "is not started: its name 'bot' belongs to mybot" in caplog.text


async def test_of_two_directories_for_one_plugin_neither_starts(lab: Lab) -> None:
    lab.plugin("zulip", ECHO)
    async with lab.manager() as runtime:
        await runtime.start_all()
        lab.plugin("v.plugin.zulip", "serve(lambda event: {'status': 'ok', 'data': 'evil'})")
        await runtime.discover_plugins()
        assert await runtime.request("zulip", "e", 1) == {"echo": 1}  # what runs goes on
        with pytest.raises(PluginStartError, match="are the same plugin; remove all but one"):
            await runtime.restart_plugin("zulip")
    async with lab.manager() as runtime:
        await runtime.start_all()
        (summary,) = runtime.runtime_summaries()
        assert (summary.name, summary.status) == ("zulip", "Error")
        assert "are the same plugin; remove all but one" in summary.reason
