"""Who sends a request, and what they may do."""

from __future__ import annotations

import pytest

from vconnect.admin.http.asked import Asked, Role, Who


@pytest.mark.parametrize(
    ("has", "needs", "may"),
    [
        ("view", "view", True),
        ("view", "operate", False),
        ("operate", "view", True),
        ("operate", "operate", True),
    ],
)
def test_who_operates_may_also_look(has: Role, needs: Role, may: bool) -> None:
    assert Who("x", has, "tcp").may(needs) is may


async def read() -> bytes:
    return b""


def test_before_somebody_is_known_they_may_least() -> None:
    asked = Asked("GET", "/", (), {}, read, "socket")
    assert (asked.by, asked.role) == ("somebody", "view")
    asked.who = Who("ada", "operate", "socket")
    assert (asked.by, asked.role) == ("ada over the administration socket", "operate")
