"""Who may connect under a plugin's name, decided without a process or a socket."""

from __future__ import annotations

import os
from typing import Any

import pytest
from tests.support.paper import ME, admissions, guest, instance, moved, plugin, shaken, unopened

from vconnect.errors import HandshakeError
from vconnect.plugins.status import PluginStatus
from vconnect.settings.model import PluginOptions, Settings
from vconnect.settings.parts import ConnectionSettings
from vconnect.sockets.credentials import Peer
from vconnect.supervision.admission import Admissions, check_external, lane_limits
from vconnect.version import host_version

STRANGER = Peer(ME.pid, ME.uid + 1)
UP = (PluginStatus.STARTING, PluginStatus.RUNNING)


def code_for(made: Admissions, own=None, present=(), peer=ME, **said) -> str:
    """Return what the handshake is refused with, or that it is admitted."""
    try:
        made.decide(shaken(**said), peer, own, present)
    except HandshakeError as error:
        return error.code
    return "admitted"


async def test_a_process_of_ours_is_admitted_once():
    made, one = admissions(plugin()), instance()
    assert code_for(made, one, [one]) == "admitted"
    one.session = unopened()
    assert code_for(made, one, [one]) == "name_taken"


async def test_a_successor_is_admitted_beside_the_one_that_serves():
    made, old, new = admissions(plugin()), instance(1, session=unopened()), instance(2)
    assert code_for(made, new, [new, old]) == "admitted"
    assert code_for(made, old, [new, old]) == "name_taken"


async def test_one_that_is_on_its_way_out_is_not():
    made, one = admissions(plugin()), instance()
    one.is_ending = True
    assert code_for(made, one, [one]) == "stopping"


async def test_nobody_is_while_the_plugin_stops():
    runtime, one = moved(plugin(), *UP, PluginStatus.STOPPING), instance()
    assert code_for(admissions(runtime), one, [one]) == "stopping"


@pytest.mark.parametrize("allowed", [True, False])
async def test_a_stranger_never_takes_the_place_of_a_process_of_ours(allowed):
    runtime, one = plugin(), instance()
    runtime.started(one.process)
    made = admissions(runtime, allow_external=allowed)
    with pytest.raises(HandshakeError, match=f"PID {ME.pid} .* as x .PID {one.process.pid}."):
        made.decide(shaken(), ME, None, [one])


@pytest.mark.parametrize(
    ("allowed", "peer", "code"),
    [
        (True, ME, "admitted"),
        (True, STRANGER, "stranger"),
        (False, ME, "stranger"),
        (False, STRANGER, "stranger"),
    ],
)
@pytest.mark.parametrize(("path", "desired"), [(None, "running"), ("/p/x", "stopped")])
def test_one_that_nobody_started_needs_permission_and_our_user(path, desired, allowed, peer, code):
    runtime = plugin(path=path)
    runtime.want(desired)
    assert code_for(admissions(runtime, allow_external=allowed), peer=peer) == code


@pytest.mark.parametrize(
    ("path", "desired", "code"),
    [(None, "stopped", "stopping"), (None, "running", "admitted"), ("/p/x", "stopped", "admitted")],
)
def test_a_guest_that_the_operator_stopped_stays_out(path, desired, code):
    runtime = plugin(path=path)
    runtime.want(desired)
    assert code_for(admissions(runtime, allow_external=True)) == code


def test_the_place_of_a_plugin_that_the_host_runs_is_taken_even_without_a_process():
    """It may have crashed, or wait for its next start."""
    runtime = plugin()
    runtime.want("running")
    with pytest.raises(HandshakeError, match=r"starts x itself; .*: vconnect stop x") as caught:
        admissions(runtime, allow_external=True).decide(shaken(), ME, None, [])
    assert caught.value.code == "stranger"


async def test_a_second_guest_finds_the_name_taken():
    runtime = plugin(path=None)
    runtime.want("running")
    made = admissions(runtime, allow_external=True)
    assert code_for(made, present=[guest(unopened())]) == "name_taken"


async def test_one_that_cannot_serve_here_says_why():
    made, one = admissions(plugin()), instance()
    with pytest.raises(HandshakeError, match=r"^no camera$") as caught:
        made.decide(shaken(disable="no camera"), ME, one, [one])
    assert caught.value.code == "disabled"


# --- what it is told -------------------------------------------------------------------------


def told(runtime, *, native=False, **options):
    runtime.want("stopped")
    made = admissions(runtime, allow_external=True, **options)
    return made.decide(shaken(native=native), ME, None, [])


def test_a_classic_plugin_gets_its_configuration_and_nothing_else():
    runtime = plugin(config={"a": {"x": 1, "y": 2}, "b": 1})
    runtime.config = {"a": {"x": 3}}
    assert told(runtime).acknowledgment == {
        "status": "ok",
        "config": {"a": {"x": 3, "y": 2}, "b": 1},
    }


def test_a_native_plugin_gets_the_terms_as_well():
    options: dict[str, Any] = {"heartbeat": 2.5, "max_frame_bytes": 4096, "window": 7}
    options["max_answer_bytes"] = 2048
    answer = told(plugin(**options), native=True, **options).acknowledgment
    assert answer == {
        "status": "ok",
        "config": {},
        "protocol_version": 1,
        "host": {"name": "vconnect", "version": host_version()},
        "max_frame_bytes": 4096,
        "max_answer_bytes": 2048,
        "heartbeat_ms": 2500,
        "window": 7,
    }


def test_the_connection_has_the_window_of_the_plugins_own_options():
    options: dict[str, Any] = {"window": 64, "options": {"x": PluginOptions(window=3)}}
    limits = told(plugin(**options), **options).limits
    assert (limits.window, limits.max_abandoned) == (3, 3)


@pytest.mark.parametrize(("given", "found"), [(None, 5), (9, 9), (1, 1)])
def test_as_many_may_be_abandoned_as_may_be_in_flight(given, found):
    settings = Settings(max_abandoned=given, window=5)
    limits = lane_limits(settings.part(ConnectionSettings), settings.plugin_policy("x"))
    assert limits.max_abandoned == found


def test_who_is_refused_learns_what_would_let_him_in():
    with pytest.raises(HandshakeError, match=r"has not started x; .*allow_external"):
        check_external("x", ME, allowed=False)
    with pytest.raises(HandshakeError, match=rf"user {STRANGER.uid}\b.*\b{os.geteuid()}$"):
        check_external("x", STRANGER, allowed=True)
