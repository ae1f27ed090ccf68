"""Who is asked, who is told, and what stands in for whom."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vconnect.errors import PayloadError
from vconnect.packages.manifest import Manifest
from vconnect.plugins.registry import Registry
from vconnect.plugins.runtime import PluginRuntime
from vconnect.settings.events import EventSettings
from vconnect.settings.model import Settings
from vconnect.wire.messages import Handshake


def plugin(
    name: str,
    *capabilities: str,
    connected: bool = True,
    desired: str = "running",
    subscriptions: tuple[str, ...] = (),
    path: Path | None = Path("/p"),
    manifest: dict[str, Any] | None = None,
) -> PluginRuntime:
    said = manifest if manifest is not None else {"capabilities": capabilities}
    runtime = PluginRuntime(name, path, Manifest(name=name, **said))
    runtime.desired = desired  # type: ignore[assignment]
    if connected:
        shaken = Handshake(plugin=name, capabilities=capabilities)
        session = SimpleNamespace(handshake=shaken, subscriptions=subscriptions)
        runtime.session = session  # type: ignore[assignment]
    return runtime


def registry(*runtimes: PluginRuntime, **events: Any) -> Registry:
    made = Registry(
        Settings(events={k: EventSettings(**v) for k, v in events.items()}).event_policy
    )
    for runtime in runtimes:
        made.add(runtime)
    return made


def names(plugins: Any) -> list[str]:
    return [one.name for one in plugins]


def test_who_is_meant_to_be_connected_is_missed():
    known = registry(
        plugin("up", "e"),
        plugin("crashed", "e", connected=False),
        plugin("stopped", "e", connected=False, desired="stopped"),
        plugin("stopping", "e", desired="stopped"),
        plugin("gone.guest", "e", connected=False, path=None),
        plugin("other", "x", connected=False),
    )
    route = known.routes.route("e")
    assert names(route.plugins) == ["crashed", "stopping", "up"]
    assert route.told == route.steps


def test_what_it_said_last_counts_while_it_is_away():
    runtime = plugin("a", "e", connected=False)
    assert names(registry(runtime).routes.route("e").plugins) == ["a"]
    runtime.handshake = Handshake(plugin="a", capabilities=("other",))
    assert names(registry(runtime).routes.route("e").plugins) == []
    assert names(registry(runtime).routes.route("other").plugins) == ["a"]


def test_who_subscribes_is_told_and_not_asked():
    known = registry(
        plugin("asked", "room"),
        plugin("told", "other", subscriptions=("room.*",)),
        plugin("both", "room", subscriptions=("room",)),
        plugin("away", connected=False),
    )
    route = known.routes.route("room.created")
    assert names(route.plugins) == ["asked", "both"]
    assert [step.plugin.name for step in route.told] == ["asked", "both", "told"]


def test_a_table_is_built_when_it_is_needed_and_never_changed():
    first, second = plugin("a", "e"), plugin("b", "e")
    known = registry(first)
    before = known.routes
    assert known.routes is before
    before.route("e")
    route = before.route("e")  # kept from now on
    assert before.route("e") is route
    known.add(second)
    assert known._routes is None
    after = known.routes
    assert names(after.route("e").plugins) == ["a", "b"]
    assert before.route("e") is route
    assert names(before.route("new").plugins) == []
    assert names(before.route("e").plugins) == ["a"]
    with pytest.raises(AttributeError):
        route.plugins = ()


def test_before_and_after_decide_the_order():
    known = registry(
        plugin("a", "e", manifest={"after": ("wk.plugin.b",)}),
        plugin("b", "e", manifest={"before": ("c",)}),
        plugin("c", "e", manifest={}),
    )
    assert names(known.routes.route("e").plugins) == ["b", "a", "c"]


def test_the_policy_and_the_default_of_an_event():
    default = {"status": "ok", "data": 1, "flow": "stop"}
    known = registry(
        **{
            "*": {"on_failure": "default", "default": default},
            "open.*": {"on_failure": "open", "timeout": 1.5},
            "closed": {"on_failure": "closed"},
        }
    )
    one = plugin("a", "*")
    step = known.routes.step(one, "e")
    assert step.default is not None
    assert (step.default.ok, step.default.data, step.default.stop) == (True, 1, True)
    assert not step.is_closed
    step = known.routes.step(one, "open.one")
    assert (step.default, step.timeout, step.is_closed) == (None, 1.5, False)
    step = known.routes.step(one, "closed")
    assert (step.default, step.is_closed) == (None, True)
    with pytest.raises(PayloadError, match="belong to the host"):
        known.routes.route("vconnect.ping")
    assert known.routes.route("e").steps == ()
