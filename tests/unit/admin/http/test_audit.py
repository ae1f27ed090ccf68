"""Changes are written down: in the log, and the last ones to be asked for."""

from __future__ import annotations

import time

import pytest

from vconnect.admin.answers import AuditRecord
from vconnect.admin.http.asked import Asked, Who
from vconnect.admin.http.audit import Audit

WHO = Who("ada (uid 7)", "operate", "socket")


def test_a_change_is_a_line_and_a_record(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    audit = Audit()
    heard: list[AuditRecord] = []
    audit.on_record = heard.append
    audit.note(WHO, "restart", "greeter", "ok", time.monotonic() - 0.25)
    (record,) = audit.since(0)
    assert heard == [record]
    assert (record.seq, record.who, record.via, record.role) == (
        *(1, "ada (uid 7)", "socket", "operate"),
    )
    assert 250 <= record.ms < 2000
    assert caplog.messages == [
        "audit who=ada_(uid_7) via=socket role=operate order=restart plugin=greeter result=ok "
        f"ms={record.ms}"
    ]


def test_what_is_about_no_plugin_names_none(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    Audit().note(WHO, "reload", None, "config_error", time.monotonic())
    assert " order=reload result=config_error " in caplog.text


@pytest.mark.parametrize("name", ["a\naudit who=root", "\x1b[2J", "\x85", "\u202e"])
def test_a_name_is_never_more_than_a_part_of_its_line(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    Audit().note(WHO, "stop", name, "unknown_plugin", time.monotonic())
    (message,) = caplog.messages
    assert message.isprintable()


def test_the_last_thousand_are_kept_and_long_names_cut() -> None:
    audit = Audit()
    for _ in range(1001):
        audit.note(WHO, "stop", "x" * 100_000, "ok", time.monotonic())
    records = audit.since(0)
    assert (len(records), records[0].seq) == (1000, 2)
    assert all(len(record.plugin) < 1100 for record in records)
    assert audit.since(time.time() + 1) == []


def refused(path: str = "/api/plugins", who: Who | None = None) -> Asked:
    async def read() -> bytes:
        return b""

    return Asked("POST", path, (), {}, read, "tcp", peer="127.0.0.1", who=who)


def test_who_is_turned_away_is_a_line(caplog: pytest.LogCaptureFixture) -> None:
    audit = Audit()
    audit.refuse(refused(), "bad_token")
    audit.refuse(refused("/api/\x1b", WHO), "role")
    audit.refuse(refused(), "unknown_plugin")  # that is no refusal
    first, second = caplog.messages
    assert first == (
        "refused who=- via=tcp peer=127.0.0.1 order=POST path=/api/plugins result=bad_token"
    )
    assert "who=ada_(uid_7)" in second
    assert second.isprintable()


def test_who_tries_all_the_time_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    audit = Audit()
    for _ in range(1000):
        audit.refuse(refused(), "bad_token")
    assert len(caplog.messages) == 10
    audit._lines.take(-1)
    audit.refuse(refused(), "bad_token")
    assert caplog.messages[-1].endswith("more=990")
