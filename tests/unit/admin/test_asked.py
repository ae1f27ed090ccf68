"""Requests and who sends them."""

from __future__ import annotations

import pytest

from vconnect.admin.asked import Asked, Who


@pytest.mark.parametrize(
    ("role", "wanted", "may"),
    [("view", "view", True), ("view", "operate", False), ("operate", "view", True)],
)
def test_a_role_is_enough_or_not(role, wanted, may):
    assert Who("x", role, "tcp").may(wanted) is may


def test_nobody_has_the_least_role():
    asked = Asked("GET", "/", (), {}, None, "tcp")
    assert (asked.role, asked.by) == ("view", "somebody")
    asked.who = Who("ann", "operate", "socket")
    assert asked.by == "ann over the administration socket"
