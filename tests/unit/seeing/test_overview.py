"""All plugins in the order of what needs attention."""

from __future__ import annotations

import pytest

from vconnect.errors import UnknownPluginError
from vconnect.plugins.passed_over import Effect, Reason
from vconnect.plugins.registry import Registry
from vconnect.plugins.runtime import PluginRuntime
from vconnect.plugins.status import PluginStatus, Substate
from vconnect.seeing.overview import Overview


def made(*names):
    registry = Registry()
    for name in names:
        registry.add(PluginRuntime(name, None))
    return registry, Overview(registry, lambda: 0.1)


def test_trouble_comes_first():
    registry, overview = made("broken", "refused", "starting", "stopped")
    registry.get("broken").status = PluginStatus.ERROR
    registry.get("refused").status = PluginStatus.ERROR
    registry.get("refused").passed_over.add("e", Reason.FAILED, Effect.REFUSED)
    registry.get("starting").status = PluginStatus.STARTING
    stopped = registry.get("stopped")
    stopped.status, stopped.reason = PluginStatus.STOPPED, "stopped by the operator"
    names = [one.name for one in overview.summaries()]
    assert names == ["refused", "broken", "starting", "stopped"]


def test_a_summary_has_its_explanation():
    registry, overview = made("a")
    plugin = registry.get("a")
    plugin.status, plugin.substate = PluginStatus.ERROR, Substate.BAD_MANIFEST
    plugin.reason = "plugin.json is missing"
    summary = overview.summary("wk.plugin.a")
    assert (summary.state, summary.shape, summary.serving) == ("error", "error", False)
    assert (summary.code, summary.why) == ("bad_manifest", "bad manifest: plugin.json is missing")
    assert overview.why("a").cause == summary.why


def test_nobody_is_explained():
    with pytest.raises(UnknownPluginError):
        made("a")[1].why("b")


def test_half_a_deadline_is_slow():
    registry, overview = made("a")
    row = registry.get("a").rows.row("e")
    row.observe(0.6 * registry.routes.step(registry.get("a"), "e").timeout)
    row.count(0)
    assert overview.summary("a").is_slow
