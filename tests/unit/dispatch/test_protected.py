"""Fields of a payload that a replacement may not change."""

from __future__ import annotations

import datetime
import json
from itertools import product
from typing import Any

import pytest

from vconnect.dispatch.protected import changed_fields, restore_protected
from vconnect.settings.events import EventPolicy


def policy(*protected: str, **may_change: tuple[str, ...]) -> EventPolicy:
    return EventPolicy(timeout=1, chain_timeout=1, protected=protected, may_change=may_change)


def restored(before: Any, after: Any, *protected: str) -> tuple[Any, tuple[str, ...]]:
    return restore_protected(policy(*(protected or ("id", "from"))), "x", before, after)


@pytest.mark.parametrize(
    ("after", "kept", "refused"),
    [
        ({"id": 1, "from": 2, "text": "new"}, {"id": 1, "from": 2, "text": "new"}, ()),
        ({"from": 2, "id": 1}, {"id": 1, "from": 2}, ()),
        ({"id": 9, "from": 2}, {"id": 1, "from": 2}, ("id",)),
        ({"id": 9, "from": 8, "text": ""}, {"id": 1, "from": 2, "text": ""}, ("id", "from")),
        ({"id": 1}, {"id": 1, "from": 2}, ("from",)),
        ({}, {"id": 1, "from": 2}, ("id", "from")),
        ({"id": True, "from": 2}, {"id": 1, "from": 2}, ("id",)),
        ({"id": "1", "from": 2}, {"id": 1, "from": 2}, ("id",)),
        ({"id": None, "from": 2}, {"id": 1, "from": 2}, ("id",)),
    ],
)
def test_a_protected_field_stays_as_it_was(after, kept, refused):
    before = {"id": 1, "from": 2, "text": "old"}
    assert restored(before, after) == (kept, refused)
    assert before == {"id": 1, "from": 2, "text": "old"}


def test_a_field_that_was_not_there_cannot_be_made():
    assert restored({"text": 1}, {"text": 2, "id": 7}) == ({"text": 2}, ("id",))
    assert restored({"text": 1}, {"text": 2, "id": None}) == ({"text": 2}, ("id",))


@pytest.mark.parametrize("after", [None, 1, "text", [1], []])
def test_a_payload_of_another_kind_would_drop_them_all(after):
    before = {"id": 1, "text": 2}
    assert restored(before, after) == (before, ("id",))
    assert restored({"text": 2}, after) == (after, ())


@pytest.mark.parametrize("before", [None, 1, "text", [1]])
def test_what_had_no_fields_has_none_to_protect(before):
    assert restored(before, {"text": 1}) == ({"text": 1}, ())


@pytest.mark.parametrize(
    ("plugin", "refused"),
    [("trusted", ("from",)), ("other", ("id", "from"))],
)
def test_who_may_change_some_may_change_only_those(plugin, refused):
    chosen = policy("id", "from", trusted=("id",))
    payload, found = restore_protected(chosen, plugin, {"id": 1, "from": 2}, {"id": 3, "from": 4})
    assert found == refused
    assert payload == {"id": 1 if "id" in refused else 3, "from": 2}


def test_nothing_protected_is_nothing_to_look_at():
    after = object()
    assert restore_protected(policy(), "x", object(), after) == (after, ())


def test_the_order_of_keys_is_no_change():
    before = {"id": {"a": 1, "b": [{"c": 1, "d": 2}]}}
    after = {"id": {"b": [{"d": 2, "c": 1}], "a": 1}}
    assert restored(before, after) == (after, ())


def test_what_json_cannot_tell_apart_is_no_change():
    when = datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC)
    before = {"id": (1, 2), "from": when}
    after = {"id": [1, 2], "from": "2024-01-02T00:00:00+00:00"}
    assert restored(before, after) == (after, ())


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ({"a": 1}, {"a": 1}, ()),
        ({"a": 1, "b": 2}, {"b": 3, "c": 4}, ("a", "b", "c")),
        ({"a": 1}, {"a": True}, ("a",)),
        ({"a": {"x": 1, "y": 2}}, {"a": {"y": 2, "x": 1}}, ()),
        ({"a": 1}, [1], ("*",)),
        ([1], [1], ()),
        ("x", "y", ("*",)),
    ],
)
def test_which_fields_have_changed(before, after, changed):
    assert changed_fields(before, after) == changed


ABSENT = object()
VALUES: tuple[Any, ...] = (
    ABSENT,
    None,
    False,
    0,
    1,
    1.5,
    "",
    "1",
    [],
    [1],
    {},
    {"a": None},
    {"a": [1]},
)


def payload(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not ABSENT}


@pytest.mark.parametrize(
    "old", VALUES, ids=lambda value: "absent" if value is ABSENT else str(value)
)
def test_whatever_takes_its_place_a_protected_field_is_as_before(old):
    for new, other in product(VALUES, VALUES):
        before, after = payload(id=old, text="old"), payload(id=new, text=other)
        found, refused = restored(before, after)
        assert as_json(found, "id") == as_json(before, "id")
        assert as_json(found, "text") == as_json(after, "text")
        assert refused == (() if as_json(before, "id") == as_json(after, "id") else ("id",))


def as_json(message: dict[str, Any], field: str) -> str:
    return json.dumps(message[field]) if field in message else "absent"
