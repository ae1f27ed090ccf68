"""Places in nested tables, and what was set at them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from vconnect.errors import ConfigError
from vconnect.plugins.configuration import (
    ConfigOverride,
    overlap,
    parse_path,
    still_valid,
    value_at,
    with_overrides,
    with_value,
    without_value,
)

TABLE = {"a": 1, "b": {"c": 2, "d": {"e": 3}}}


def override(path: str, value: Any, base: Any = msgspec.UNSET) -> ConfigOverride:
    keys = tuple(filter(None, path.split(".")))
    return ConfigOverride(path=keys, value=value, base=base, by="ann", at=0.0)


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("a", ("a",)),
        ("a.b", ("a", "b")),
        ('"a.b".c', ("a.b", "c")),
        (" a . b ", ("a", "b")),
        ("1.2", ("1", "2")),
        ("'x y'", ("x y",)),
    ],
)
def test_a_key_is_one_of_toml(key: str, path: tuple[str, ...]) -> None:
    assert parse_path(key) == path


@pytest.mark.parametrize("key", ["", "a b", "a..b", "a.", "a = 1", "a\nb", '"a', "[a]", "a#b", "é"])
def test_what_is_no_key_is_refused(key: str) -> None:
    with pytest.raises(ConfigError, match="is no key"):
        parse_path(key)


def test_values_at_places() -> None:
    assert value_at(TABLE, ("b", "d", "e")) == 3
    assert value_at(TABLE, ()) == TABLE
    for path in (("x",), ("a", "b"), ("b", "x")):
        assert value_at(TABLE, path) is msgspec.UNSET


def test_a_changed_table_is_another_table() -> None:
    assert with_value(TABLE, ("b", "d", "e"), 4)["b"] == {"c": 2, "d": {"e": 4}}
    assert with_value(TABLE, ("a", "x"), 4) == {"a": {"x": 4}, "b": TABLE["b"]}
    assert with_value({}, ("x", "y"), 1) == {"x": {"y": 1}}
    assert without_value(TABLE, ("b", "d"))["b"] == {"c": 2}
    assert without_value(TABLE, ("a", "b")) == without_value(TABLE, ("x",)) == TABLE
    assert TABLE == {"a": 1, "b": {"c": 2, "d": {"e": 3}}}


def test_what_was_set_last_wins() -> None:
    overrides = [override("b.c", 5), override("", {"z": 1}), override("z", 2)]
    assert with_overrides(TABLE, overrides[:1])["b"]["c"] == 5
    assert with_overrides(TABLE, overrides) == {"z": 2}


def test_what_the_file_has_changed_since_is_gone() -> None:
    same, other, new = override("a", 9, base=1), override("b.c", 9, base=3), override("n", 9)
    assert still_valid((same, other, new), TABLE) == ((same, new), (other,))
    assert still_valid((new,), {"n": 1}) == ((), (new,))


def test_places_that_overlap() -> None:
    assert overlap((), ("a",))
    assert overlap(("a",), ("a", "b"))
    assert overlap(("a", "b"), ("a",))
    assert not overlap(("a", "b"), ("a", "c"))
