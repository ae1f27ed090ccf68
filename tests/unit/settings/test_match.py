"""Conditions on a payload."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum
from typing import Any

import msgspec
import pytest

from vconnect.settings.match import Match, compile_match


@dataclass
class Message:
    content: str


class Kind(Enum):
    BOT = "bot"


class Word(str):
    """As some libraries mark text that is safe."""

    __slots__ = ()


def matches(match: dict[str, Any], payload: Any) -> bool:
    matcher = compile_match(msgspec.convert(match, Match))
    return matcher is None or matcher(payload)


HELP = {"content": {"prefix": "/help"}}
KINDS = {"message_type": {"in": [1, 2, "x", True]}}


@pytest.mark.parametrize(
    ("match", "payload", "expected"),
    [
        ({}, None, True),
        (HELP, {"content": "/help me"}, True),
        (HELP, {"content": "help"}, False),
        (HELP, {"content": 7}, False),
        (HELP, {"content": None}, False),
        (HELP, {}, False),
        (HELP, "/help", False),
        (HELP, None, False),
        (HELP, Message("/help"), True),
        (HELP, Message("no"), False),
        (HELP, OrderedDict(content="/help"), True),
        (HELP, {"content": Word("/help")}, True),
        ({"kind": "bot"}, {"kind": Kind.BOT}, True),
        ({"message.content": "x"}, {"message": Message("x")}, True),
        (KINDS, {"message_type": 2}, True),
        (KINDS, {"message_type": 2.0}, True),
        (KINDS, {"message_type": True}, True),
        (KINDS, {"message_type": "x"}, True),
        (KINDS, {"message_type": 3}, False),
        (KINDS, {"message_type": [1]}, False),
        ({"n": {"in": [1]}}, {"n": True}, False),
        ({"kind": "bot"}, {"kind": "bot"}, True),
        ({"kind": "bot"}, {"kind": "man"}, False),
        ({"n": 1}, {"n": 1.0}, True),
        ({"n": 1}, {"n": True}, False),
        ({"n": True}, {"n": 1}, False),
        ({"n": False}, {"n": 0}, False),
        ({"room_id": {"present": True}}, {"room_id": 0}, True),
        ({"room_id": {"present": True}}, {"room_id": None}, False),
        ({"room_id": {"present": False}}, {"room_id": None}, True),
        ({"room_id": {"present": False}}, {}, True),
        ({"room_id": {"present": False}}, {"room_id": 1}, False),
        ({"user.name": "ada"}, {"user": {"name": "ada"}}, True),
        ({"user.name": "ada"}, {"user": "ada"}, False),
        ({"user.name": "ada"}, {"user.name": "ada"}, False),
        ({"user.name": {"present": False}}, {"user": 1}, True),
        ({**HELP, "kind": "bot"}, {"content": "/help", "kind": "bot"}, True),
        ({**HELP, "kind": "bot"}, {"content": "/help", "kind": "man"}, False),
        ({"content": {"prefix": "/", "in": ["/a", "b"]}}, {"content": "/a"}, True),
        ({"content": {"prefix": "/", "in": ["/a", "b"]}}, {"content": "b"}, False),
    ],
)
def test_what_matches(match: dict[str, Any], payload: Any, *, expected: bool) -> None:
    assert matches(match, payload) is expected


def test_without_conditions_there_is_nothing_to_call() -> None:
    assert compile_match({}) is None


@pytest.mark.parametrize("condition", [{}, {"suffix": "x"}, {"prefix": 1}, [1], None])
def test_conditions_that_are_none(condition: Any) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"content": condition}, Match)
