"""What a plugin is, by its manifest, its handshake and its policy."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.support.paper import PaperProcess, plugin, shaken, unopened

from vconnect.errors import IllegalTransitionError
from vconnect.order import Position
from vconnect.packages.manifest import Manifest
from vconnect.plugins.restarts import Decision
from vconnect.plugins.runtime import Declared, PluginRuntime
from vconnect.plugins.status import PluginStatus, Substate
from vconnect.processes.process import ExitStatus
from vconnect.settings.model import PluginOptions


def heard(runtime: PluginRuntime) -> list[None]:
    """Return a list that grows at each change that a route depends on."""
    changes: list[None] = []
    runtime.on_change = lambda: changes.append(None)
    return changes


# --- what it says of itself ------------------------------------------------------------------


def test_it_says_nothing_before_anybody_has_heard_of_it():
    assert plugin().declared == Declared()


def test_its_handshake_outweighs_its_manifest_and_outlives_its_session():
    runtime = plugin(version="1", priority=1, capabilities=("a",))
    assert runtime.declared == Declared("1", 1, ("a",))
    session = unopened(version="2", priority=2, capabilities=("b",))
    runtime.served_by(None, session)
    assert runtime.declared == Declared("2", 2, ("b",))
    runtime.retire_session()
    assert (runtime.declared.version, runtime.capabilities) == ("2", ("b",))


def test_a_plugin_that_was_never_seen_before_counts_by_its_session():
    runtime = plugin(version="1")
    runtime.session = unopened(version="3")
    assert runtime.declared.version == "3"


@pytest.mark.parametrize(
    ("requires", "found"),
    [
        ((), {}),
        (("a",), {"a": True}),
        (("wk.plugin.a", "b:started"), {"a": True, "b": False}),
        (("a:ready",), {"a": True}),
    ],
)
def test_what_it_requires(requires, found):
    runtime = plugin(requires=requires, version="1")
    assert runtime.requirements == found
    assert runtime.required_plugins == tuple(found)


@pytest.mark.parametrize(
    ("in_manifest", "in_policy", "is_exclusive"),
    [(False, False, False), (True, False, True), (False, True, True)],
)
def test_whether_it_may_run_twice(in_manifest, in_policy, is_exclusive):
    options = {"x": PluginOptions(exclusive=in_policy)}
    runtime = plugin(exclusive=in_manifest, options=options)
    assert runtime.is_exclusive is is_exclusive


@pytest.mark.parametrize(
    ("permissions", "withdrawn", "allowed"),
    [
        ((), (), []),
        (("log",), (), ["log"]),
        (("event.*",), (), ["event.publish", "event.subscribe"]),
        (("*",), (), ["log", "event.publish", "event.subscribe"]),
        (("*",), ("event.*",), ["log"]),
        (("log", "event.publish"), ("log",), ["event.publish"]),
        (("event",), (), ["event.publish", "event.subscribe"]),
        (("even",), (), []),
    ],
)
def test_what_it_may_call(permissions, withdrawn, allowed):
    runtime = plugin(options={"x": PluginOptions(withdraw=withdrawn)})
    calls = ("log", "event.publish", "event.subscribe")
    assert [call for call in calls if runtime.may_call(call, permissions)] == allowed


@pytest.mark.parametrize(
    ("asked", "withdrawn", "words"),
    [
        ([], (), "add 'log' to the permissions in its manifest"),
        (["l*"], (), "add 'log' to the permissions"),
        (["log"], (), "nobody has granted it"),
        (["*"], ("log",), "the operator has withdrawn 'log'"),
    ],
)
def test_why_it_may_not_make_a_call(asked, withdrawn, words):
    runtime = plugin(options={"x": PluginOptions(withdraw=withdrawn)})
    runtime.manifest = Manifest(name="x", raw={"permissions": asked})
    assert words in runtime.why_not_call("log")


@pytest.mark.parametrize(
    ("path", "dev", "said", "names"),
    [
        (None, False, {}, {"x"}),
        ("/p/wk.plugin.folder", False, {}, {"x", "folder"}),
        ("/p/folder", True, {}, {"x"}),
        ("/p/x", False, {"plugin_no": "v.plugin.n"}, {"x", "n"}),
    ],
)
def test_all_of_its_names(path, dev, said, names):
    runtime = plugin(path=path and Path(path), dev=dev, **said)
    assert runtime.aliases() == names


def test_the_name_of_its_manifest_is_one_of_them():
    assert PluginRuntime("x", None, Manifest(name="wk.plugin.y")).aliases() == {"x", "y"}


def test_its_place_in_a_chain_names_others_as_the_host_does():
    runtime = plugin(priority=3, before=("wk.plugin.a",), after=("v.plugin.b",))
    assert runtime.position == Position(3, ("a",), ("b",))
    runtime.served_by(None, unopened(priority=9))
    assert runtime.position == Position(9, ("a",), ("b",))
    assert plugin().position == Position()


# --- where it is -----------------------------------------------------------------------------


def test_it_is_running_from_the_moment_that_it_moved_there():
    runtime = plugin()
    runtime.move(PluginStatus.STARTING, Substate.SPAWNED, "why")
    assert (runtime.substate, runtime.reason) == (Substate.SPAWNED, "why")
    assert runtime.running_since is None
    runtime.move(PluginStatus.RUNNING, Substate.CONNECTED)
    assert 0 <= time.monotonic() - runtime.running_since < 60
    assert runtime.reason == ""
    runtime.move(PluginStatus.STOPPING, Substate.DRAINING)
    assert runtime.running_since is None


def test_a_move_that_the_table_forbids_changes_nothing():
    runtime = plugin()
    runtime.explain(Substate.WAITING, "for a slot")
    with pytest.raises(IllegalTransitionError, match=r"^x: "):
        runtime.move(PluginStatus.STOPPED, Substate.EXITED, "never ran")
    assert runtime.status is PluginStatus.INSTALLED
    assert (runtime.substate, runtime.reason) == (Substate.WAITING, "for a slot")


def test_an_explanation_keeps_the_words_unless_there_are_new_ones():
    runtime = plugin()
    runtime.explain(Substate.WAITING, "words")
    runtime.explain(Substate.BACKOFF)
    assert (runtime.substate, runtime.reason) == (Substate.BACKOFF, "words")
    runtime.explain(Substate.NONE, "")
    assert runtime.reason == ""


@pytest.mark.parametrize(
    ("path", "desired", "connected", "is_wanted"),
    [
        ("/p", "running", False, True),
        ("/p", "stopped", False, False),
        ("/p", "stopped", True, True),
        (None, "running", False, False),
        (None, "running", True, True),
    ],
)
def test_events_are_for_those_that_are_there_or_shall_be(path, desired, connected, is_wanted):
    runtime = plugin(path=path and Path(path))
    runtime.want(desired)
    runtime.session = unopened() if connected else None
    assert runtime.is_wanted is is_wanted
    assert runtime.is_up is connected


def test_routes_hear_of_what_they_depend_on_and_of_nothing_else():
    runtime, session = plugin(), unopened()
    changes = heard(runtime)
    for count, change in enumerate(
        (
            lambda: runtime.want("running"),
            lambda: runtime.served_by(None, session),
            lambda: runtime.subscribe(session, ("news.*",)),
            runtime.retire_session,
        ),
        start=1,
    ):
        change()
        assert len(changes) == count
    runtime.retire_session()
    runtime.saw_alive()
    runtime.begin_generation()
    runtime.explain(Substate.WAITING)
    assert len(changes) == 4


def test_a_session_brings_its_subscriptions_and_closes_the_circuit():
    runtime, session = plugin(breaker_failures=1), unopened()
    runtime.breaker.failed()
    assert runtime.breaker.is_open
    assert runtime.subscriptions == ()
    runtime.served_by(None, session)
    runtime.subscribe(session, ("a",))
    assert list(runtime.subscriptions) == ["a"]
    assert runtime.breaker.state == "closed"
    assert runtime.last_heartbeat == pytest.approx(time.time(), abs=60)


async def test_an_end_is_recorded_without_taking_a_new_process_away():
    runtime, old, new = plugin(), PaperProcess(), PaperProcess()
    runtime.started(old)
    runtime.ended(old, ExitStatus(1, None), ("last",))
    assert (runtime.process, runtime.last_stderr) == (None, ("last",))
    assert runtime.exit == ExitStatus(1, None)
    runtime.started(new)
    runtime.ended(old, ExitStatus(2, None), ())
    assert (runtime.process, runtime.exit) == (new, ExitStatus(2, None))


async def test_its_log_has_its_starts_and_ends(caplog):
    runtime = plugin()
    runtime.move(PluginStatus.STARTING, Substate.SPAWNED)
    runtime.move(PluginStatus.RUNNING, Substate.CONNECTED)
    runtime.move(PluginStatus.STARTING, Substate.DISCONNECTED, "it closed its connection")
    runtime.restarts.plan(Decision(2.0), time.monotonic())
    runtime.move(PluginStatus.ERROR, Substate.BACKOFF, "exited: code 3")
    runtime.restarts.cancel()
    runtime.move(PluginStatus.STOPPED, Substate.NONE)
    runtime.move(PluginStatus.STARTING, Substate.SPAWNED)
    process = PaperProcess()
    runtime.started(process)
    runtime.ended(process, ExitStatus(0, None), ())
    runtime.move(PluginStatus.STOPPED, Substate.EXITED)
    runtime.ended(process, ExitStatus(1, None), ())
    runtime.say("warn", "its circuit is open")
    records = runtime.log.states.newest(100).records
    assert {record.stream for record in records} == {"state"}
    assert [(record.level, record.text) for record in records] == [
        ("info", "it is ready"),
        ("info", "it closed its connection"),
        ("error", "exited: code 3; next try in 2.0 s"),
        ("info", "stopped"),
        ("info", "stopped: exited: code 0"),
        ("info", f"the replaced process {process.pid}: exited: code 1"),
        ("warn", "its circuit is open"),
    ]
    # The host's own log has its own lines for these, and the last one.
    assert [record.getMessage() for record in caplog.records] == ["plugin x: its circuit is open"]


def test_its_state_in_words_is_never_without_a_reason_that_there_is():
    runtime = plugin()
    assert runtime.state_in_words == "Installed"
    runtime.move(PluginStatus.STARTING, Substate.HANDSHAKING)
    assert runtime.state_in_words == "Starting: handshaking"
    runtime.move(PluginStatus.ERROR, Substate.EXITED, "exited: code 3")
    assert runtime.state_in_words == "Error: exited: code 3"


def test_its_log_has_its_name_unless_it_is_given_one():
    own = plugin("a").log
    assert plugin("b", log=own).log is own
    assert shaken("a").plugin == "a"
