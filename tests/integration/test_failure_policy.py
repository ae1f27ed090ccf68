"""What becomes of an event whose plugin fails: five ways to fail, three policies, all real."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.support.lab import ECHO, Lab, until_status

from vconnect import PluginError, PluginRuntimeManager
from vconnect.dispatch.results import Refusal

pytestmark = pytest.mark.both_loops

BAD_ANSWER = """
connection = Connection()
connection.greet(priority=5)
for event in connection.events():
    connection.send_bytes({data!r})
time.sleep(60)
"""

# How a plugin fails: its program, and what its result says.
FAILURES = {
    "error": (
        "serve(lambda event: {'status': 'error', 'message': 'broken', 'code': 'mine'}, priority=5)",
        "mine",
        "broken",
    ),
    "timeout": ("serve(lambda event: time.sleep(60), priority=5)", "deadline_exceeded", "deadline"),
    "crash": ("serve(lambda event: os._exit(3), priority=5)", "unavailable", "before it answered"),
    "bad answer": (BAD_ANSWER.format(data=b"\0\0\0\2{]"), "bad_answer", "cannot be read"),
    "not connected": ("print('no database', file=sys.stderr); sys.exit(3)", "unavailable", "not c"),
}
DEFAULT = {"status": "ok", "data": {"stands": "in"}}


def table(policy: str, **more: Any) -> dict[str, Any]:
    # The time that a plugin of the matrix has is long enough for any that answers at all.
    timeout = {"timeout": 1.0}
    default = {"default": DEFAULT} if policy == "default" else {}
    return {"*": timeout | {"on_failure": policy} | default | more}


@asynccontextmanager
async def three(lab: Lab, failure: str, **events: Any) -> AsyncIterator[PluginRuntimeManager]:
    """The plugin that fails stands between two that do not."""
    lab.plugin("first", "serve(priority=9)")
    lab.plugin("bad", FAILURES[failure][0], capabilities=["*"], priority=5)
    lab.plugin("last", ECHO)
    async with lab.manager(events=events) as runtime:
        await runtime.start_all()
        if failure == "not connected":
            await until_status(runtime, "bad", "Error")
        yield runtime


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["open", "closed", "default"])
@pytest.mark.parametrize("failure", FAILURES)
async def test_a_chain(lab: Lab, failure: str, policy: str) -> None:
    _, code, words = FAILURES[failure]
    async with three(lab, failure, **table(policy)) as runtime:
        outcome = await runtime.emit("any.event", {"n": 1})
        results = {result.plugin: result for result in outcome.results}
        assert list(results) == ["first", "bad", "last"][: 2 if policy == "closed" else 3]
        for name in results.keys() - {"bad"}:
            assert (results[name].ok, results[name].is_default) == (True, False)
            assert results[name].data == {"echo": {"n": 1}}
        bad = results["bad"]
        assert bad.error_code == code
        assert words in (bad.error or "")
        assert not bad.stop
        if policy == "default":
            assert (bad.ok, bad.is_default, bad.data) == (True, True, {"stands": "in"})
        else:
            assert (bad.ok, bad.is_default, bad.data) == (False, False, None)
        if policy == "closed":
            assert outcome.stopped_by == "bad"
            assert outcome.reason == f"bad: {bad.error}"
        else:
            assert (outcome.stopped_by, outcome.reason) == (None, None)
        assert outcome.payload == {"n": 1}
        summary = runtime.summary("bad")
        assert (summary.errors, summary.passed_over_total) == (
            (0, 1) if failure == "not connected" else (1, 0)
        )
        assert summary.timeouts == int(failure == "timeout")
        assert runtime.summary("first").errors == 0


@pytest.mark.slow
@pytest.mark.parametrize("failure", FAILURES)
async def test_a_fan_out_and_one_plugin(lab: Lab, failure: str) -> None:
    # Closed ends a chain; here there is nothing to end. Two tables, as some plugins fail once.
    code = FAILURES[failure][1]
    events = {
        **table("closed"),
        "standing.in": {"on_failure": "default", "default": DEFAULT},
    }
    for event in ("any.event", "standing.in"):
        async with three(lab, failure, **events) as runtime:
            outcome = await runtime.broadcast(event, {"n": 1})
            assert [result.plugin for result in outcome.results] == ["first", "bad", "last"]
            assert (outcome.stopped_by, outcome.reason) == (None, None)
            first, bad, last = outcome.results
            assert first.data == last.data == {"echo": {"n": 1}}
            assert bad.error_code == code
            stands_in = event == "standing.in"
            assert (bad.ok, bad.is_default) == (stands_in, stands_in)
            assert bad.data == ({"stands": "in"} if stands_in else None)
            if stands_in:
                assert await runtime.request("bad", event, {}) == {"stands": "in"}
            else:
                with pytest.raises(PluginError) as caught:
                    await runtime.request("bad", event, {})
                # What has crashed before is not connected now.
                assert caught.value.code in (code, "unavailable")


async def test_a_default_answer_may_stop_and_replace(lab: Lab) -> None:
    lab.plugin("bad", FAILURES["error"][0])
    lab.plugin("last", ECHO)
    events: dict[str, dict[str, Any]] = {
        "stop": {"default": {"status": "ok", "flow": "stop"}},
        "stop.inside": {"default": {"status": "ok", "data": {"flow": "stop", "n": 1}}},
        "replace": {"default": {"status": "ok", "payload": {"from_uid": "operator"}}},
        "bare": {"default": {"answer": 42}},
        "refuse": {"default": {"status": "error", "code": "no", "message": "sorry"}},
        "refuse.all": {
            "default": {"status": "error", "code": "no", "message": "sorry", "flow": "stop"}
        },
    }
    tables = {name: {"on_failure": "default", **keys} for name, keys in events.items()}
    async with lab.manager(events=tables) as runtime:
        await runtime.start_all()
        for event in ("stop", "stop.inside"):
            outcome = await runtime.emit(event, {"n": 1})
            assert (outcome.stopped_by, outcome.reason) == ("bad", None)
            [result] = outcome.results
            assert (result.stop, result.is_default, result.ok) == (True, True, True)
        outcome = await runtime.emit("replace", {"from_uid": "user", "n": 1})
        assert outcome.payload == {"from_uid": "operator"}  # the operator may change what is his
        assert outcome.results[1].data == {"echo": {"from_uid": "operator"}}
        assert (await runtime.emit("bare", {})).results[0].data == {"answer": 42}
        outcome = await runtime.emit("refuse", {})
        assert [result.ok for result in outcome.results] == [False, True]
        refused = outcome.results[0]
        assert (refused.error, refused.error_code, refused.is_default) == ("sorry", "no", True)
        with pytest.raises(PluginError, match="sorry") as caught:
            await runtime.request("bad", "refuse", {})
        assert caught.value.code == "no"
        outcome = await runtime.emit("refuse.all", {})
        assert outcome.refusal == Refusal(plugin="bad", code="no", message="sorry")


async def test_a_crash_with_many_in_flight_fails_each_by_its_own_policy(lab: Lab) -> None:
    code = """
    connection = Connection()
    connection.greet()
    for n, event in enumerate(connection.events()):
        if n == 9:
            os._exit(3)
    """
    lab.plugin("bad", code)
    events = {
        "closed": {"on_failure": "closed"},
        "default": {"on_failure": "default", "default": DEFAULT},
    }
    async with lab.manager(events=events) as runtime:
        await runtime.start_all()
        names = ["open", "closed", "default", "open", "closed"] * 2
        # Their time is up in five seconds; they end as soon as the plugin does.
        outcomes = await asyncio.gather(*(runtime.emit(name, {}) for name in names))
        for name, outcome in zip(names, outcomes, strict=True):
            [result] = outcome.results
            assert result.error_code == "unavailable"
            assert result.is_default == (name == "default")
            assert (outcome.reason is not None) == (name == "closed")
