"""Who has changed what."""

from __future__ import annotations

import logging
import time
from typing import Any

from vconnect.admin.asked import Who
from vconnect.admin.audit import Audit


def test_each_change_is_a_line_and_a_record(caplog):
    audit = Audit()
    told: list[Any] = []
    audit.on_record = told.append
    with caplog.at_level(logging.INFO):
        audit.note(Who("uid 0 (root)", "operate", "socket"), "restart", "a", "ok", time.monotonic())
    assert caplog.messages == [
        "audit who=uid_0_(root) via=socket role=operate order=restart plugin=a result=ok ms=0"
    ]
    (record,) = audit.since(0)
    assert record == told[0]
    assert (record.who, record.plugin, record.result) == ("uid 0 (root)", "a", "ok")
    assert audit.since(time.time() + 1) == []


def test_the_last_thousand_are_kept_and_names_are_cut():
    audit = Audit()
    for _ in range(1100):
        audit.note(Who("x", "view", "tcp"), "stop", "n" * 10_000, "ok", 0.0)
    records = audit.since(0)
    assert (len(records), records[0].seq) == (1000, 101)
    assert len(records[0].plugin) < 1100
