"""What an operator sees of the host, as it goes over the administration socket."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from vconnect.host.summary import HostSummary

WHOLE: dict[str, Any] = {
    "pid": 99,
    "guardian_pid": None,
    "version": "1",
    "loop": "asyncio",
    "uptime_s": 1.5,
    "socket_path": "/run/host.sock",
    "admin_path": "/run/admin.sock",
    "plugin_dir": "/plugins",
    "cgroup": None,
    "plugins": 0,
    "queued_bytes": 0,
    "stalls": 0,
    "longest_stall_s": 0.0,
}
REASON = next(name for name in HostSummary.__struct_fields__ if name.startswith("cgroup_"))


def test_it_goes_there_and_back_unchanged():
    summary = HostSummary(**(WHOLE | {REASON: "no cgroup v2"}))
    sent = msgspec.json.encode(summary)
    assert json.loads(sent) == WHOLE | {REASON: "no cgroup v2"}
    assert msgspec.json.decode(sent, type=HostSummary) == summary


@pytest.mark.parametrize("field", HostSummary.__struct_fields__)
def test_nothing_may_be_left_out(field):
    values = WHOLE | {REASON: ""}
    del values[field]
    with pytest.raises(TypeError, match=field):
        HostSummary(**values)
