"""All plugins, in the order of what needs attention."""

from __future__ import annotations

import random
import time

import pytest
from tests.support.fake_manager import plugin_summary
from tests.support.paper import moved, plugin, unopened

from vconnect.errors import UnknownPluginError
from vconnect.plugins.latency import Outcome
from vconnect.plugins.registry import Registry
from vconnect.plugins.status import PluginStatus
from vconnect.seeing.overview import Overview, _urgency
from vconnect.settings.model import Settings

UP = (PluginStatus.STARTING, PluginStatus.RUNNING)


def made(*plugins, slow_s: float = 0.1) -> Overview:
    registry = Registry()
    for one in plugins:
        registry.add(one)
    return Overview(registry, lambda: slow_s)


def up(name: str, **options):
    one = moved(plugin(name, **options), *UP)
    one.served_by(None, unopened(name))
    return one


def test_trouble_comes_first() -> None:
    status = PluginStatus
    wanted = [
        plugin_summary("refused", passed_over={"refused": 1}),
        plugin_summary("down", serving=False, status=status.ERROR, code="exits"),
        plugin_summary("skipped", passed_over={"skipped": 1}),
        plugin_summary("full", code="queue_full"),
        plugin_summary("slow", is_slow=True),
        plugin_summary("starting", serving=False, status=status.STARTING, code="starting"),
        plugin_summary("first", priority=9),
        plugin_summary("next", priority=1),
        plugin_summary("zero-a", priority=0),
        plugin_summary("zero-b", priority=0),
        plugin_summary("stopped", serving=False, status=status.STOPPED, code="stopped"),
    ]
    shuffled = random.Random(1).sample(wanted, len(wanted))
    assert [one.name for one in sorted(shuffled, key=_urgency)] == [one.name for one in wanted]


def test_a_summary_has_its_explanation() -> None:
    overview = made(up("a"), plugin("b"))
    first, second = overview.summaries()
    assert (first.name, first.code, first.why, first.serving) == ("a", "healthy", "", True)
    assert (second.name, second.code, second.serving) == ("b", "not_started", False)
    assert overview.summary("wk.plugin.b").why == overview.why("b").cause == "not started yet"
    with pytest.raises(UnknownPluginError):
        overview.summary("c")
    with pytest.raises(UnknownPluginError):
        overview.why("c")


@pytest.mark.parametrize(
    ("took", "chain", "is_slow"),
    [
        (0.3, 0.4, True),  # most of the chain, and more than slow_ms
        (0.3, 3.0, False),
        (0.01, 0.01, False),
        (0.6, 10.0, True),  # half of its deadline
    ],
)
def test_a_plugin_is_slow_if_it_delays_others(took: float, chain: float, is_slow: bool) -> None:
    one = up("a")
    registry = Registry(None if took < 0.5 else Settings(event_timeout=1.0).event_policy)
    registry.add(one)
    overview = Overview(registry, lambda: 0.1)
    for _ in range(20):
        one.rows.row("e").observe(took)
        one.rows.row("e").count(Outcome.OK)
        registry.chains.row("e").observe(chain)
    assert overview.summary("a").is_slow is is_slow


def test_what_was_sent_explains_who_is_never_asked() -> None:
    one = up("a")
    one.running_since -= 60
    registry = Registry()
    registry.add(one)
    overview = Overview(registry, lambda: 0.1)
    registry.chains.row("message.incoming").observe(0.01)
    assert overview.why("a").code == "never_asked"


def test_the_present_is_in_unix_seconds() -> None:
    assert abs(made().now() - time.time()) < 5
    assert made().chains() == []
