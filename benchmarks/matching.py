"""Rows for conditions (``match``): what it costs to decide whether a plugin is asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vconnect.settings.match import Condition, Match, compile_match

from .frames import repeat
from .measure import Row, Way
from .placement import Placement

PAYLOAD = {"from_uid": "u1", "message_type": 1, "content": "/help me", "sender": {"kind": "user"}}

#: Each condition, and what one would write by hand for it.
CONDITIONS: dict[str, tuple[Match, Callable[[Any], bool]]] = {
    "a value": ({"message_type": 1}, lambda sent: sent.get("message_type") == 1),
    "a prefix": (
        {"content": Condition(prefix="/help")},
        lambda sent: str(sent.get("content", "")).startswith("/help"),
    ),
    "one of": (
        {"message_type": Condition(one_of=(1, 2))},
        lambda sent: sent["message_type"] in (1, 2),
    ),
    "a deep value": ({"sender.kind": "user"}, lambda sent: sent["sender"]["kind"] == "user"),
}


def rows() -> list[Row]:
    return [_row(name, *ways) for name, ways in CONDITIONS.items()]


def _row(name: str, match: Match, by_hand: Callable[[Any], bool]) -> Row:
    matches = compile_match(match)
    assert matches is not None
    return Row(
        "match",
        f"match {name}",
        Placement.ONE_CORE,
        (
            Way("by hand", repeat(by_hand, PAYLOAD), "rival"),
            Way("vconnect", repeat(matches, PAYLOAD)),
        ),
    )
