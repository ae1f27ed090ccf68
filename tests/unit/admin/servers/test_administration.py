"""One interface for all servers of a manager."""

from __future__ import annotations

import socket

from tests.support.fake_manager import FakeManager

from vconnect.admin.answers import AuditRecord
from vconnect.admin.http.asked import Asked, Reply, Who
from vconnect.admin.servers.administration import Administration
from vconnect.seeing.happenings import Happening
from vconnect.settings.model import Settings


async def read() -> bytes:
    return b""


def test_a_host_is_called_as_it_is_told_or_as_the_machine() -> None:
    named = FakeManager(settings=Settings(host_name="chat-1"))
    assert Administration(named).name == "chat-1"
    assert Administration(named, "other").name == "other"
    assert Administration(FakeManager()).name == socket.gethostname()


def test_every_route_that_changes_needs_an_operator_and_is_in_the_audit() -> None:
    looking = {"/api/verify", "/api/outdated", "/api/search", "/api/info"}
    for route in Administration(FakeManager()).table.routes:
        assert route.method in ("GET", "POST", "PUT", "DELETE")
        if route.method == "GET":
            assert not route.order, route.path
        elif route.path == "/api/session":
            assert (route.role, route.order) == (None, "")
        else:
            assert route.role == "operate", route.path
            assert bool(route.order) == (route.path not in looking), route.path


def test_only_a_few_routes_need_nobody() -> None:
    table = Administration(FakeManager()).table
    open_to_all = {route.path for route in table.routes if route.role is None}
    assert open_to_all == {"/", "/{file}", "/healthz", "/readyz", "/api/session"}


def test_metrics_are_open_if_the_settings_say_so() -> None:
    manager = FakeManager(settings=Settings(metrics_public=True))
    (route,) = [one for one in Administration(manager).table.routes if one.path == "/metrics"]
    assert route.role is None


async def test_changes_reach_those_who_follow() -> None:
    manager = FakeManager()
    made = Administration(manager)
    leave = manager.feed.follow(["host"])
    asked = Asked("POST", "/api/reload", (), {"host": "h"}, read, "socket")
    reply: Reply = await made.application.answer(
        asked, lambda _: Who("ada", "operate", "socket"), None
    )
    assert reply.status == 200
    (entry,) = manager.feed.ring.after(0)
    assert (entry.topic, entry.kind) == ("host", "audit")
    assert b'"order":"reload"' in entry.data
    leave()
    assert AuditRecord.__struct_fields__[:2] == Happening.__struct_fields__[:2]
