"""Who has a name that several claim."""

from __future__ import annotations

from vconnect.ownership import settle


def test_everybody_has_what_nobody_else_wants() -> None:
    owners, problems = settle({"a": {"a", "x"}, "b": {"b"}}, {})
    assert owners == {"a": "a", "x": "a", "b": "b"}
    assert problems == {}


def test_who_had_it_before_keeps_it() -> None:
    claims = {"old": {"old", "bot"}, "bot": {"bot"}, "third": {"third", "bot"}}
    owners, problems = settle(claims, {"bot": "old", "old": "old"})
    assert owners["bot"] == "old"
    words = "its name 'bot' belongs to old, which had it before"
    assert problems == {"bot": words, "third": words}


def test_without_a_first_nobody_gets_it() -> None:
    for before in ({}, {"x": "gone"}):
        owners, problems = settle({"a": {"a", "x"}, "b": {"b", "x"}}, before)
        assert "x" not in owners
        assert problems == {
            "a": "its name 'x' is also one of b",
            "b": "its name 'x' is also one of a",
        }


def test_a_name_is_free_once_its_owner_does_not_claim_it() -> None:
    owners, problems = settle({"old": {"old"}, "new": {"new", "bot"}}, {"bot": "old"})
    assert (owners["bot"], problems) == ("new", {})
