"""Plugins that are down, as an operator sees them, and what is told of them."""

from __future__ import annotations

import time
from typing import Any

from tests.support.fake_manager import plugin_summary
from tests.support.paper import report

from vconnect.plugins.crashes import CrashReport
from vconnect.plugins.status import PluginStatus
from vconnect.seeing.why import Surroundings, Why, explain

ALONE = Surroundings(lambda _: None, {})
NOW = time.time()
DOWN: dict[str, Any] = {"serving": False, "pid": None, "uptime_s": None}
ERROR = {**DOWN, "status": PluginStatus.ERROR}
STOPPED = {**DOWN, "status": PluginStatus.STOPPED, "desired": "stopped"}
STARTING = {**DOWN, "status": PluginStatus.STARTING}
EXIT: dict[str, Any] = {"exit_code": 1, "reason": "exited with code 1", "ran_for_s": 0.2}


def why(around: Surroundings = ALONE, **fields: Any) -> Why:
    """Explain a plugin that runs and is well, but for these fields."""
    return explain(plugin_summary("a", **fields), around)


def crash(at: float = 0.0, **fields: Any) -> CrashReport:
    """A crash of a minute ago, or ``at`` seconds after that."""
    known: dict[str, Any] = {
        "exit_signal": None,
        "last_stderr": (),
        "in_flight": (),
        "ran_for_s": 0.0,
    }
    return report(at=NOW - 60 + at, **(known | fields))
