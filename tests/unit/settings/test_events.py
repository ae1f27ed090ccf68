"""What the operator wants of an event: which table wins, and what a replacement may change."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest

from vconnect.dispatch.protected import restore_protected
from vconnect.settings.events import EventPolicy, EventSettings, resolve_policy

DEFAULTS = EventPolicy(timeout=5.0, chain_timeout=30.0)


def resolved(event: str, **tables: dict[str, Any]) -> EventPolicy:
    named = {key.replace("__", "."): EventSettings(**table) for key, table in tables.items()}
    return resolve_policy(event, named, DEFAULTS)


def test_without_tables_the_defaults_hold():
    assert resolve_policy("message.incoming", {}, DEFAULTS) == DEFAULTS
    # The same object: there is one for all names that a plugin makes up.
    assert resolve_policy("x", {"message.*": EventSettings(timeout=1.0)}, DEFAULTS) is DEFAULTS
    assert DEFAULTS.on_failure == "open"
    assert DEFAULTS.protected == ("from_uid",)
    assert DEFAULTS.overflow == "drop_oldest"


@pytest.mark.parametrize(
    ("event", "timeout"),
    [
        ("message.incoming", 1.0),
        ("message.outgoing", 2.0),
        ("message.outgoing.late", 3.0),
        ("message", 4.0),
        ("user.online", 5.5),
    ],
)
def test_the_most_specific_table_wins(event, timeout):
    tables = {
        "*": EventSettings(timeout=5.5),
        "message": EventSettings(timeout=4.0),
        "message.**": EventSettings(timeout=3.0),
        "message.*": EventSettings(timeout=2.0),
        "message.incoming": EventSettings(timeout=1.0),
    }
    for order in (list(tables), list(reversed(tables))):
        shuffled = {pattern: tables[pattern] for pattern in order}
        assert resolve_policy(event, shuffled, DEFAULTS).timeout == timeout


def test_tables_are_laid_over_each_other_key_by_key():
    policy = resolved(
        "message.incoming",
        message={"timeout": 1.0, "on_failure": "closed", "protected": ("a",)},
        message__incoming={"protected": ()},
        user={"overflow": "block"},
    )
    assert policy.timeout == 1.0
    assert policy.chain_timeout == 30.0
    assert policy.on_failure == "closed"
    assert policy.protected == ()
    assert policy.overflow == "drop_oldest"


def policy(**options: Any) -> EventPolicy:
    return EventPolicy(timeout=1.0, chain_timeout=1.0, **options)


@pytest.mark.parametrize(
    ("before", "after", "kept", "refused"),
    [
        ({"from_uid": "a", "n": 1}, {"from_uid": "a", "n": 2}, {"from_uid": "a", "n": 2}, ()),
        ({"from_uid": "a"}, {"from_uid": "b", "x": 1}, {"from_uid": "a", "x": 1}, ("from_uid",)),
        ({"from_uid": "a"}, {"x": 1}, {"from_uid": "a", "x": 1}, ("from_uid",)),
        ({"from_uid": None}, {}, {"from_uid": None}, ("from_uid",)),
        ({"n": 1}, {"n": 1, "from_uid": "me"}, {"n": 1}, ("from_uid",)),
        ({"n": 1}, {"n": 1, "from_uid": None}, {"n": 1}, ("from_uid",)),
        ({"n": 1}, "text", "text", ()),
        ({"from_uid": "a"}, "text", {"from_uid": "a"}, ("from_uid",)),
        ({"from_uid": "a"}, None, {"from_uid": "a"}, ("from_uid",)),
        ({"from_uid": "a"}, [{"from_uid": "a"}], {"from_uid": "a"}, ("from_uid",)),
        ([1], {"from_uid": "a"}, {"from_uid": "a"}, ()),
        # To Python these are equal; whoever reads the JSON sees another value.
        ({"from_uid": 1}, {"from_uid": True}, {"from_uid": 1}, ("from_uid",)),
        ({"from_uid": 1}, {"from_uid": 1.0}, {"from_uid": 1}, ("from_uid",)),
        ({"from_uid": [0]}, {"from_uid": [False]}, {"from_uid": [0]}, ("from_uid",)),
    ],
)
def test_what_is_protected_stays(before, after, kept, refused):
    assert restore_protected(policy(), "x", before, after) == (kept, refused)
    payload, _ = restore_protected(policy(), "x", before, after)
    assert json.dumps(payload, sort_keys=True) == json.dumps(kept, sort_keys=True)


def test_nothing_is_changed_in_place():
    before, after = {"from_uid": "a"}, {"from_uid": "b"}
    restore_protected(policy(), "x", before, after)
    assert (before, after) == ({"from_uid": "a"}, {"from_uid": "b"})


@pytest.mark.parametrize(
    ("value", "as_json"),
    [
        (("a", "b"), ["a", "b"]),
        (datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC), "2024-01-02T00:00:00+00:00"),
        ({"b": 1, "a": 2}, {"a": 2, "b": 1}),
    ],
)
def test_a_value_that_only_went_through_json_was_not_changed(value, as_json):
    before, after = {"from_uid": value}, {"from_uid": as_json, "n": 1}
    assert restore_protected(policy(), "x", before, after) == (after, ())


def test_some_may_change_some_of_it():
    wanted = policy(protected=("from_uid", "to_uid"), may_change={"bridge": ("from_uid",)})
    before, after = {"from_uid": "a", "to_uid": "b"}, {"from_uid": "x", "to_uid": "y"}
    assert restore_protected(wanted, "bridge", before, after) == (
        {"from_uid": "x", "to_uid": "b"},
        ("to_uid",),
    )
    assert restore_protected(wanted, "other", before, after) == (before, ("from_uid", "to_uid"))
    assert restore_protected(wanted, "bridge", {"from_uid": "a"}, "text") == ("text", ())


@pytest.mark.parametrize("spelling", ["bridge", "wk.plugin.bridge", "v.plugin.bridge"])
def test_who_may_change_it_is_named_by_any_spelling(spelling):
    wanted = resolved("e", e={"may_change": {spelling: ("from_uid",)}})
    after = {"from_uid": "x"}
    assert restore_protected(wanted, "bridge", {"from_uid": "a"}, after) == (after, ())


def test_nothing_protected_means_nothing_kept():
    assert restore_protected(policy(protected=()), "x", {"from_uid": 1}, {}) == ({}, ())
