"""Names of plugins, and capabilities against events."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vconnect._names import NameCache
from vconnect.names import (
    MAX_NAME_LENGTH,
    canonical_name,
    capability_matches,
    is_valid_name,
    matching_patterns,
)


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("example", "example"),
        ("wk.plugin.example", "example"),
        ("v.plugin.example", "example"),
        ("wk.plugin.v.plugin.x", "v.plugin.x"),
        ("v.plugin.wk.plugin.x", "wk.plugin.x"),
        ("wk.plugin.wk.plugin.x", "wk.plugin.x"),
        ("xwk.plugin.example", "xwk.plugin.example"),
        ("WK.plugin.example", "WK.plugin.example"),
        ("wk.plugin", "wk.plugin"),
        ("wk.plugin.", ""),
        ("", ""),
    ],
)
def test_exactly_one_prefix_is_stripped(name, canonical):
    assert canonical_name(name) == canonical


@pytest.mark.parametrize("name", ["a", "_", "0", "a-b.c_D", "x" * MAX_NAME_LENGTH, "a..b", "a."])
def test_valid(name):
    assert is_valid_name(name)


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", ".a", "-a", "a/b", "a\\b", "a b", "a\n", "\na", "a\0", "é", "x" * 65, "a:b"],
)
def test_invalid(name):
    assert not is_valid_name(name)


@pytest.mark.parametrize(
    ("capability", "event", "covers"),
    [
        ("message", "message", True),
        ("message", "message.incoming", True),
        ("message", "message.incoming.text", True),
        ("message", "messages", False),
        ("message", "messages.incoming", False),
        ("message.incoming", "message", False),
        ("message.incoming", "message.incoming.text", True),
        ("Message", "message", False),
        ("*", "anything.at.all", True),
        ("**", "anything.at.all", True),
        ("user.*", "user.online", True),
        ("user.*", "user.device.added", False),
        ("user.*", "user", False),
        ("user.*", "users.online", False),
        ("user.**", "user.online", True),
        ("user.**", "user.device.added", True),
        ("user.**", "user", False),
        ("user.**", "users.online", False),
        ("", "message", False),
        ("us.r", "user", False),
        ("user*", "user.online", False),
        ("*.online", "user.online", False),
    ],
)
def test_capabilities(capability, event, covers):
    assert capability_matches(capability, event) is covers


def make_upper(made: list[str]) -> Callable[[str], str]:
    def make(name: str) -> str:
        if name == "bad":
            raise ValueError(name)
        made.append(name)
        return name.upper()

    return make


def test_a_cache_keeps_what_is_asked_for_twice() -> None:
    made: list[str] = []
    cache = NameCache(make_upper(made))
    assert [cache[name] for name in "abaaab"] == list("ABAAAB")
    with pytest.raises(ValueError, match="bad"):
        cache["bad"]
    assert made == ["a", "b", "a", "b"]
    cache.clear()
    assert cache["a"] == "A"
    assert made == ["a", "b", "a", "b", "a"]


def test_names_that_are_made_up_are_not_kept() -> None:
    cache = NameCache(make_upper([]))
    for number in range(100_000):
        cache[f"new{number}"]
    assert not cache


def test_names_that_come_and_go_do_not_displace_those_in_use() -> None:
    made: list[str] = []
    cache = NameCache(make_upper(made), limit=8)
    for number in range(1000):
        assert cache[f"new{number}"] == cache[f"new{number}"]
        assert cache["used"] == "USED"
        assert len(cache) <= 8
    assert made.count("used") <= 10  # another name may have its place among the hashes


def test_it_knows_what_was_asked_for_twice() -> None:
    cache = NameCache(str.upper, limit=4)
    assert "a" not in cache
    assert cache["a"] == "A"
    assert "a" not in cache
    assert cache["a"] == "A"
    assert "a" in cache
    for other in "bcdef":
        _ = cache[other], cache[other]
    assert "f" in cache
    assert "a" not in cache


def test_what_is_not_used_is_forgotten() -> None:
    made: list[str] = []
    cache = NameCache(make_upper(made), limit=4)
    for name in "aabbccddee":
        cache[name]
    cache["a"]
    assert made.count("a") == 3


WORDS = st.sampled_from(["a", "b", "*", "**", "", "ab"])
DOTTED = st.lists(WORDS, min_size=1, max_size=5).map(".".join)


@given(DOTTED, DOTTED)
def test_the_patterns_of_an_event_are_those_that_match_it(pattern: str, event: str) -> None:
    assert (pattern in matching_patterns(event)) is capability_matches(pattern, event)
