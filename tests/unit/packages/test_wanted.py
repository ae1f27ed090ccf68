"""``NAME[@RANGE]``, and what is a path or an address instead."""

from __future__ import annotations

import pytest

from vconnect.errors import InstallError
from vconnect.packages.source import parse_source
from vconnect.packages.wanted import parse_wanted


@pytest.mark.parametrize(
    ("text", "name", "versions"),
    [
        ("example", "example", ""),
        ("wk.plugin.example", "example", ""),
        ("a.b-c_1", "a.b-c_1", ""),
        ("plugin.zip", "plugin.zip", ""),
        ("example@1.2.3", "example", "1.2.3"),
        ("example@^1.2", "example", "^1.2"),
        ("example@ >=1.2 <2 ", "example", ">=1.2 <2"),
        ("example@", "example", ""),
    ],
)
def test_a_name_with_or_without_a_range(text: str, name: str, versions: str) -> None:
    wanted = parse_wanted(text)
    assert wanted is not None
    assert (wanted.name, wanted.versions.text) == (name, versions)
    assert wanted.text == (f"{name}@{versions}" if versions else name)


@pytest.mark.parametrize(
    "text",
    [
        *("", "./example", "dir/example", "/example", "~/example", "../x", ".", ".."),
        *("example.vp", "EXAMPLE.VP", "a.wkp", "https://h/a.vp", "file:a", "file://a"),
        *("a b", "example@1/2", "$x", "-x"),
    ],
)
def test_a_path_or_an_address(text: str) -> None:
    assert parse_wanted(text) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("example@>>1", "is not a comparator"),
        ("example@1 || 2", "is not supported"),
        ("v.plugin.v.plugin.x", "the name is 'v.plugin.v.plugin.x'"),
        ("a" * 300, "the name is"),
    ],
)
def test_what_is_neither(text: str, words: str) -> None:
    with pytest.raises(InstallError, match=words.replace("|", r"\|")):
        parse_wanted(text)


def test_a_source_may_be_one_with_a_digest() -> None:
    source = parse_source("wk.plugin.a@^1#sha256=" + "AB" * 32)
    assert source.wanted is not None
    assert (source.wanted.name, source.sha256) == ("a", "ab" * 32)
    assert (source.text, source.shown, source.origin) == ("a@^1", "a@^1", "a@^1")
    assert source.path is None
    assert parse_source("/x/a.vp").origin == "/x/a.vp"
