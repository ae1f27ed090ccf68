"""``index.json``: what is read of it, what is not, and in which words."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from vconnect.errors import InstallError
from vconnect.index import document
from vconnect.index.document import (
    Index,
    IndexedFile,
    IndexedPlugin,
    IndexedVersion,
    decode_index,
    encode_index,
    encode_plugin,
    is_relative,
)

SHA256 = "ab" * 32


def indexed(version: str, **fields: Any) -> IndexedVersion:
    files = fields.pop("files", (IndexedFile(url=f"a-{version}.vp", size=1, sha256=SHA256),))
    return IndexedVersion(version=version, files=files, **fields)


def an_index(*versions: IndexedVersion, **fields: Any) -> Index:
    plugins = {"a": encode_plugin(IndexedPlugin(versions=versions, aliases=("other",)))}
    return Index(serial=1, **{"plugins": plugins, **fields})


def raw(**plugin: Any) -> Index:
    text = json.dumps({"serial": 1, "plugins": {plugin.pop("name", "a"): plugin}})
    return decode_index(text.encode(), "index.json")


def refusal(data: bytes) -> str:
    with pytest.raises(InstallError) as caught:
        decode_index(data, "https://h/index.json")
    assert str(caught.value).startswith("https://h/index.json: ")
    return str(caught.value).removeprefix("https://h/index.json: ")


def test_what_is_written_is_read() -> None:
    index = an_index(
        indexed("1", yanked="bad"),
        name="mine",
        generated=datetime(2026, 1, 1, tzinfo=UTC),
        expires=datetime(2027, 1, 1, tzinfo=UTC),
    )
    text = encode_index(index)
    again = decode_index(text, "index.json")
    assert again.plugin("a") == index.plugin("a")
    assert encode_index(again) == text
    assert json.loads(text)["plugins"]["a"]["versions"][0]["yanked"] == "bad"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is not a valid index"),
        (b'{"serial": 1, "plugins": {', "is not a valid index"),
        (b"<!DOCTYPE html><html>", "is not a valid index"),
        (b"[]", "is not a valid index: expected `object`, got `array`"),
        (b"{}", "missing required field `serial`"),
        (b'{"serial": "1"}', "expected `int`, got `str`"),
        (b'{"serial": -1}', "expected `int` >= 0"),
        (b'{"serial": 1, "plugins": []}', "expected `object`, got `array`"),
        (b'{"serial": 1, "expires": "soon"}', "expires"),
        (b'{"format": 2, "serial": 1}', "has format 2, and this vconnect reads at most 1"),
        (b'{"format": 2, "plugins": "elsewhere"}', "has format 2"),
        (b'{"serial": 1, "more": %s}' % (b"[" * 100_000), "is not a valid index"),
        (b'{"serial": 1, "plugins": {"a": %s}}' % (b"[" * 100_000), "is not a valid index"),
        (b'{"serial": 1000000000000000000000000000000}', "expected `int` <= 9007199254740991"),
    ],
)
def test_what_is_no_index_is_refused_in_words(data: bytes, words: str) -> None:
    assert words in refusal(data)


def test_it_is_not_larger_than_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "MAX_INDEX_BYTES", 100)
    assert refusal(b" " * 101).startswith("has more than 100 bytes")
    with pytest.raises(InstallError, match="the index would have"):
        encode_index(an_index(indexed("1")))
    monkeypatch.setattr(document, "MAX_INDEX_BYTES", 10_000)
    monkeypatch.setattr(document, "MAX_INDEX_FILES", 2)
    plugins: dict[str, dict] = {name: {} for name in "abc"}
    assert "has 3 plugins" in refusal(json.dumps({"serial": 1, "plugins": plugins}).encode())
    several = encode_index(an_index(*(indexed(str(number)) for number in range(3))))
    assert refusal(several) == "has 3 files; the limit is 2"


def test_unknown_keys_are_no_mistake() -> None:
    index = raw(more=1, versions=[{"version": "1", "more": [], "files": []}])
    assert index.plugin("a").versions[0].version == "1"


FILE = {"url": "a.vp", "size": 1, "sha256": SHA256}


@pytest.mark.parametrize(
    ("plugin", "words"),
    [
        ({"name": "a b"}, "is not the name of a plugin"),
        ({"name": "wk.plugin.a"}, "is not the name of a plugin"),
        ({"versions": {}}, "expected `array`, got `object`"),
        ({"versions": [{"version": ""}]}, "length >= 1"),
        ({"versions": [{"version": "1"}, {"version": "1"}]}, "has version 1 twice"),
        ({"versions": [{"version": "1", "files": [FILE, FILE]}]}, "1 has two files for any"),
        ({"versions": [{"version": "1", "files": [{**FILE, "sha256": "x"}]}]}, "sha256"),
        ({"versions": [{"version": "1", "files": [{**FILE, "size": -1}]}]}, "size"),
        ({"versions": [{"version": "1", "files": [{**FILE, "url": ""}]}]}, "length >= 1"),
        (
            {"versions": [{"version": "1", "files": [{**FILE, "url": "../x.vp"}]}]},
            "the address '../x.vp' is not relative to the index",
        ),
        (
            {"versions": [{"version": "1", "files": [{**FILE, "signature": "//h/x"}]}]},
            "is not relative",
        ),
    ],
)
def test_a_plugin_that_is_not_valid_is_refused_alone(plugin: dict, words: str) -> None:
    name = plugin.get("name", "a")
    with pytest.raises(InstallError) as caught:
        raw(**plugin).plugin(name)
    assert str(caught.value).startswith(f"{name}: ")
    assert words in str(caught.value)


def test_a_plugin_that_is_nested_too_deeply() -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    for data in (
        b'{"serial": 1, "plugins": {"a": %s}}' % deep,
        b'{"serial": 1, "plugins": {"a": {"versions": %s}}}' % deep,
        b'{"serial": 1, "plugins": {"a": {"more": %s}}}' % deep,
    ):
        with pytest.raises(InstallError):
            decode_index(data, "index.json").plugin("a")


@pytest.mark.parametrize("url", ["a.vp", "sub/a.vp", "a%20b.vp", "a..b.vp", "%2e%2e.vp"])
def test_addresses_below_the_index(url: str) -> None:
    assert is_relative(url)


@pytest.mark.parametrize(
    "url",
    [
        *("", "/a.vp", "//h/a.vp", "https://h/a.vp", "file:a.vp", "..", "../a.vp", "x/../../a.vp"),
        *("%2e%2e/a.vp", "..%2fa.vp", "%2Fa.vp", "x\\..\\a.vp", "%5ca.vp", "a.vp?x", "a.vp#x"),
        *("a b.vp", "a\n.vp", "a.vp\x00"),
    ],
)
def test_all_other_addresses(url: str) -> None:
    assert not is_relative(url)


def test_a_plugin_is_found_by_each_of_its_names() -> None:
    index = an_index(indexed("1"))
    assert [index.find(name) for name in ("a", "other", "oth", "none")] == ["a", "a", None, None]


def test_the_latest_is_none_that_was_withdrawn_and_rarely_a_prerelease() -> None:
    versions = (indexed("2.0.0-rc.1"), indexed("1.3.0", yanked=""), indexed("1.2.0"))
    latest = IndexedPlugin(versions=versions).latest()
    assert latest is not None
    assert latest.version == "1.2.0"
    alone = IndexedPlugin(versions=versions[:1]).latest()
    assert alone is not None
    assert alone.version == "2.0.0-rc.1"
    assert IndexedPlugin().latest() is None


def test_it_expires() -> None:
    then = datetime(2026, 1, 1)  # noqa: DTZ001 - one without a zone is meant as UTC
    now = datetime(2026, 1, 2, tzinfo=UTC)
    assert an_index(expires=then).is_expired(now)
    assert not an_index(expires=now).is_expired(now)
    assert not an_index().is_expired()
