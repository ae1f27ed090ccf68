"""Versions and ranges, as Semantic Versioning 2.0.0 has them."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vconnect.packages.semver import Version, parse_range

# From the specification, section 11, with what lies around it.
IN_ORDER = [
    *("0.0.0-0", "0.0.0", "0.0.1", "0.9.0", "0.10.0"),
    *("1.0.0-1", "1.0.0-2", "1.0.0-10", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.1.0"),
    *("1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1"),
    *("1.0.0-rc.1a", "1.0.0", "1.0.1", "1.2.0", "1.10.0", "2.0.0", "10.0.0"),
]


@pytest.mark.parametrize(("lower", "higher"), list(itertools.combinations(IN_ORDER, 2)))
def test_the_order_is_that_of_the_specification(lower: str, higher: str) -> None:
    assert Version(lower) < Version(higher)
    assert not Version(higher) < Version(lower)
    assert Version(lower) != Version(higher)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1.2", "1.2.0"),
        ("1", "1.0.0"),
        ("v1.2.3", "1.2.3"),
        ("1.2.3+build.5", "1.2.3"),
        ("1.2.3+001", "1.2.3+a"),
        ("1.0.0-rc.1+x", "1.0.0-rc.1"),
        ("v2-beta", "2.0.0-beta"),
    ],
)
def test_what_is_equal(one: str, other: str) -> None:
    assert Version(one) == Version(other)
    assert hash(Version(one)) == hash(Version(other))
    assert str(Version(one)) == one


@pytest.mark.parametrize(
    "text",
    [
        *("", "latest", "1.2.3.4", "01.2.3", "1.02", "1.2.3-", "1.2.3-a..b", "1.2.3-01"),
        *("1.2.3+", " 1.2.3", "1.2.3 ", "-1", "1..2", "V1", "1.2.3-ä", "٣.1.0", "x" * 300),
        *("1." + "9" * 19, "2024-01-05T10", "=1.2.3"),
    ],
)
def test_anything_else_has_no_order(text: str) -> None:
    # A date such as 2024-01-05 would be a version with a pre-release, which is what it says.
    version = Version(text)
    assert not version.has_order or text == "2024-01-05T10"
    if not version.has_order:
        assert version == Version(text)
        assert not parse_range(">=0").takes(text)
        assert version < Version("0.0.0-0")


TAKEN = [
    ("", "1.2.3", True),
    ("", "1.2.3-a", False),
    ("*", "0.0.0", True),
    ("*", "1.2.3", True),
    ("*", "1.2.3-a", False),
    ("1.2.3", "1.2.3", True),
    ("1.2.3", "1.2.3+build", True),
    ("=1.2", "1.2.0", True),
    ("= 1.2.3", "1.2.4", False),
    ("v1.2.3", "1.2.3", True),
    ("1.2.3-rc.1", "1.2.3-rc.1", True),
    ("1.2.3-rc.1", "1.2.3", False),
    (">1.2.3", "1.2.3", False),
    (">1.2.3", "1.2.4", True),
    (">=1.2.3", "1.2.3", True),
    (">=1.2.3", "1.2.3-rc", False),
    (">=1.2.3-rc", "1.2.3-rc.1", True),
    (">=1.2.3-rc", "1.2.3-beta", False),
    (">=1.2.3-rc", "1.2.4-rc", False),
    (">=1.2.3-rc", "1.3.0", True),
    ("<2", "1.99.99", True),
    ("<2", "2.0.0", False),
    ("<2", "2.0.0-rc", False),
    ("<=2", "2.0.0", True),
    ("<=2", "2.0.1", False),
    (">=1.2 <2", "1.10.0", True),
    (">=1.2,<2", "1.1.9", False),
    (">= 1.2 , < 2", "2.0.0", False),
    (">1 <1", "1.0.0", False),
    ("^1.2.3", "1.2.3", True),
    ("^1.2.3", "1.2.2", False),
    ("^1.2.3", "1.99.0", True),
    ("^1.2.3", "2.0.0", False),
    ("^1", "2.0.0-pre", False),
    ("^1", "1.0.0", True),
    ("^1.2.3-beta.2", "1.2.3-beta.4", True),
    ("^1.2.3-beta.2", "1.2.4-beta.4", False),
    ("^0.2.3", "0.2.9", True),
    ("^0.2.3", "0.3.0", False),
    ("^0.2.3", "0.3.0-0", False),
    ("^0.0.3", "0.0.3", True),
    ("^0.0.3", "0.0.4", False),
    ("^0.0", "0.0.9", True),
    ("^0.0", "0.1.0", False),
    ("^0", "0.9.9", True),
    ("^0", "1.0.0", False),
    ("~1.2.3", "1.2.9", True),
    ("~1.2.3", "1.3.0", False),
    ("~1.2.3", "1.3.0-a", False),
    ("~1.2", "1.2.0", True),
    ("~1.2", "1.3.0", False),
    ("~1", "1.9.0", True),
    ("~1", "2.0.0", False),
    ("1.2.*", "1.2.7", True),
    ("1.2.x", "1.3.0", False),
    ("1.*", "1.9.9", True),
    ("1.*", "2.0.0-a", False),
    ("1.*.*", "1.0.0", True),
    ("1.x", "0.9.0", False),
    ("=latest", "latest", True),
    ("latest", "latest", True),
    ("=latest", "1.0.0", False),
    (">=0", "latest", False),
    ("^1.2 !=1.3", "1.4.0", None),
    (">=1 || <3", "2.0.0", None),
    (">=latest", "1.0.0", None),
    ("^*", "1.0.0", None),
    (">=1.2.*", "1.2.0", None),
    ("^", "1.0.0", None),
    (">=", "1.0.0", None),
    (">=1 <", "1.0.0", None),
    ("1" * 256, "1.0.0", None),
]


@pytest.mark.parametrize(("text", "version", "is_taken"), TAKEN)
def test_ranges(text: str, version: str, is_taken: bool | None) -> None:
    if is_taken is None:
        with pytest.raises(ValueError, match=r"expected|limit|omit"):
            parse_range(text)
        return
    assert parse_range(text).takes(version) is is_taken
    assert str(parse_range(text)) == text


def test_the_best_is_the_highest_in_the_range() -> None:
    versions = [Version(text) for text in ("1.2.0", "1.10.0", "2.0.0", "1.11.0-rc", "latest")]
    assert str(parse_range("^1").best(versions)) == "1.10.0"
    assert parse_range("^3").best(versions) is None
    assert str(max(versions)) == "2.0.0"


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_two_texts_have_one_order(one: str, other: str) -> None:
    first, second = Version(one), Version(other)
    assert (first < second) + (second < first) + (first == second) == 1


@given(st.text(alphabet="0123456789.<>=^~*vx- ,ab|+", max_size=30))
def test_any_text_is_a_range_or_is_refused(text: str) -> None:
    try:
        found = parse_range(text)
    except ValueError:
        return
    assert found.takes("1.2.3") in (True, False)
