"""Every way in which a plugin can fail, under every policy, role and way to send an event.

The table is complete on purpose: a filter that is passed over in one of its cells is a hole.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.dispatch_kit import Plugins, having
from tests.support.paper import report

from vconnect.dispatch.results import Outcome
from vconnect.errors import PluginError
from vconnect.plugins.runtime import PluginRuntime
from vconnect.settings.events import EventSettings, PluginEventOptions
from vconnect.settings.model import PluginOptions
from vconnect.wire.messages import encode_event
from vconnect.wire.session import LostEvent

PAYLOAD = {"content": "x", "from_uid": "ada"}
DEFAULT = {"status": "ok", "data": "stand-in"}

Act = Callable[[Plugins, Any], Awaitable[None]]


def plugin(plugins: Plugins) -> PluginRuntime:
    return plugins.registry.get("filter")


async def error_answer(plugins: Plugins, peer: Any) -> None:
    await peer.read()
    await peer.answer({"status": "error", "message": "no"})


async def error_that_stops(plugins: Plugins, peer: Any) -> None:
    await peer.read()
    await peer.answer({"status": "error", "message": "no", "flow": "stop"})


async def no_json(plugins: Plugins, peer: Any) -> None:
    await peer.read()
    await peer.write(b"\0\0\0\2{]")


async def no_object(plugins: Plugins, peer: Any) -> None:
    await peer.read()
    await peer.answer([1])


async def half_an_emoji(plugins: Plugins, peer: Any) -> None:
    await peer.read()
    await peer.write(b'\0\0\0\x23{"status":"ok","data":"cut \\ud83d"}')


async def too_late(plugins: Plugins, peer: Any) -> None:
    await peer.read()


async def closes(plugins: Plugins, peer: Any) -> None:
    await peer.read()
    peer.close()


async def breaks_the_framing(plugins: Plugins, peer: Any) -> None:
    await peer.read()
    await peer.write(b"\0\0\0\0")


async def nothing(plugins: Plugins, peer: Any) -> None:
    """It is not asked."""


def disconnect(plugins: Plugins) -> None:
    made = plugin(plugins)
    assert made.session is not None
    made.handshake, made.path = made.session.handshake, Path("/p")
    made.session, made.desired = None, "running"


def open_circuit(plugins: Plugins) -> None:
    for _ in range(plugins.settings.breaker_failures):
        plugin(plugins).breaker.failed()


def quarantine(plugins: Plugins) -> None:
    event = LostEvent("e", PAYLOAD, encode_event("e", PAYLOAD, 1 << 20).classic_frame)
    for _ in range(2):
        plugin(plugins).crashes.add(report(), [event])


def fill(plugins: Plugins) -> None:
    for _ in range(10):  # the window and the queue behind it
        plugins.dispatcher.notify("full", 1)


# What happens before, what the plugin does, and the code of the failure.
KINDS: dict[str, tuple[Callable[[Plugins], None] | None, Act, str]] = {
    "an error": (None, error_answer, "internal"),
    "an error that stops": (None, error_that_stops, "internal"),
    "no JSON": (None, no_json, "bad_answer"),
    "no object": (None, no_object, "bad_answer"),
    "half an emoji": (None, half_an_emoji, "bad_answer"),
    "too late": (None, too_late, "deadline_exceeded"),
    "its end": (None, closes, "unavailable"),
    "broken framing": (None, breaks_the_framing, "unavailable"),
    "not connected": (disconnect, nothing, "unavailable"),
    "its circuit": (open_circuit, nothing, "unavailable"),
    "in quarantine": (quarantine, nothing, "unavailable"),
    "its queue": (fill, nothing, "overloaded"),
}


async def failing(
    kind: str, mode: str, *, policy: str, role: str, required: bool = False
) -> tuple[Outcome | None, PluginError | Any, bool]:
    """Let the plugin fail; return the outcome, what a request gave, and if another was asked."""
    before, act, _ = KINDS[kind]
    settings: dict[str, Any] = {"timeout": 0.1, "on_failure": policy, "default": DEFAULT}
    if required:
        settings["requires"] = ("filter",)
    options = PluginOptions(events={"e": PluginEventOptions(role=role)})  # type: ignore[arg-type]
    async with having(events={"e": EventSettings(**settings)}, options={"filter": options}) as all_:
        peer = await all_.add("filter", 9)
        if before is not None:
            before(all_)
        await all_.add("behind")
        send: Awaitable[Any]
        if mode == "request":
            send = all_.dispatcher.request("filter", "e", PAYLOAD)
        else:
            send = getattr(all_.dispatcher, mode)("e", PAYLOAD)
        task = asyncio.ensure_future(send)
        await act(all_, peer)
        done: Any = (await asyncio.gather(task, return_exceptions=True))[0]
        is_behind_asked = all_.registry.get("behind").rows.sent > 0
        return (done, None, is_behind_asked) if isinstance(done, Outcome) else (None, done, False)


@pytest.mark.parametrize("role", ["filter", "transform"])
@pytest.mark.parametrize("policy", ["open", "closed", "default"])
@pytest.mark.parametrize("kind", KINDS)
async def test_in_a_chain(kind: str, policy: str, role: str) -> None:
    outcome, _, is_behind_asked = await failing(kind, "emit", policy=policy, role=role)
    assert outcome is not None
    first, code = outcome.results[0], KINDS[kind][2]
    assert (first.plugin, first.error_code) == ("filter", code)
    if policy == "closed":
        assert (outcome.stopped_by, first.ok) == ("filter", False)
        assert outcome.refusal is not None
        assert (outcome.refusal.code, outcome.refusal.plugin) == (code, "filter")
        assert not is_behind_asked
        return
    assert (first.ok, first.is_default) == (policy == "default", policy == "default")
    # An error may still stop the chain, unless its plugin may not or a default stands in.
    stops = kind == "an error that stops" and (policy, role) == ("open", "filter")
    assert outcome.stopped_by == ("filter" if stops else None)
    assert is_behind_asked is not stops


@pytest.mark.parametrize("policy", ["open", "closed", "default"])
@pytest.mark.parametrize("kind", KINDS)
async def test_in_a_broadcast(kind: str, policy: str) -> None:
    outcome, _, is_behind_asked = await failing(kind, "broadcast", policy=policy, role="filter")
    assert outcome is not None
    first = outcome.results[0]
    assert (first.plugin, first.error_code) == ("filter", KINDS[kind][2])
    assert first.ok is (policy == "default")
    assert outcome.stopped_by is None
    assert is_behind_asked


@pytest.mark.parametrize("policy", ["open", "closed", "default"])
@pytest.mark.parametrize("kind", KINDS)
async def test_in_a_request(kind: str, policy: str) -> None:
    _, got, _ = await failing(kind, "request", policy=policy, role="filter")
    if policy == "default":
        assert got == "stand-in"
    else:
        assert isinstance(got, PluginError)
        assert got.code == KINDS[kind][2]


@pytest.mark.parametrize("mode", ["emit", "broadcast"])
@pytest.mark.parametrize("policy", ["open", "closed", "default"])
@pytest.mark.parametrize("kind", KINDS)
async def test_of_a_required_plugin(kind: str, policy: str, mode: str) -> None:
    outcome, _, is_behind_asked = await failing(
        kind, mode, policy=policy, role="filter", required=True
    )
    assert outcome is not None
    assert outcome.stopped_by == "filter"
    assert outcome.refusal is not None
    assert outcome.refusal.code == KINDS[kind][2]
    assert is_behind_asked is (mode == "broadcast")


@pytest.mark.parametrize("policy", ["open", "default"])  # nobody answers behind it
@pytest.mark.parametrize("kind", ["not connected", "its circuit", "its queue", "in quarantine"])
async def test_of_an_observer(kind: str, policy: str) -> None:
    outcome, _, is_behind_asked = await failing(kind, "emit", policy=policy, role="observer")
    assert outcome is not None
    # Nobody waits for it, so nothing can go wrong with it in a chain.
    assert [result.plugin for result in outcome.results] == ["behind"]
    assert outcome.stopped_by is None
    assert is_behind_asked


@pytest.mark.parametrize("mode", ["emit", "broadcast", "request"])
async def test_a_quarantined_event_does_not_use_up_the_probe_of_a_circuit(mode: str) -> None:
    async with having(breaker_failures=1, breaker_cooldown=0.001) as all_:
        peer = await all_.add("filter")
        quarantine(all_)
        open_circuit(all_)
        await asyncio.sleep(0.01)
        arguments = ("filter", "e") if mode == "request" else ("e",)
        for _ in range(2):
            send = getattr(all_.dispatcher, mode)(*arguments, PAYLOAD)
            await asyncio.gather(send, return_exceptions=True)
        task = asyncio.create_task(all_.dispatcher.request("filter", "e", 1))
        await peer.read()
        await peer.answer({"status": "ok", "data": 1})
        assert await task == 1
        assert plugin(all_).breaker.state == "closed"
