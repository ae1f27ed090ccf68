"""The trust file: keys with their scopes, and how they end."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from vconnect.errors import ConfigError
from vconnect.trust.keyring import Keyring, TrustedKey, predecessors
from vconnect.trust.minisign import PublicKey

NOW = datetime(2026, 11, 28, tzinfo=UTC)


def key(number: int = 1, **fields: object) -> TrustedKey:
    public = PublicKey(bytes([number] * 8), bytes(32))
    return TrustedKey(id=public.id, key=public.line(), **fields)  # type: ignore[arg-type]


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    return Keyring(tmp_path / "vconnect.trust")


def test_a_file_that_is_not_there_has_no_keys(keyring: Keyring) -> None:
    assert keyring.keys() == {}
    with pytest.raises(ConfigError, match=r"has no key 'AB' \(known: none\)"):
        keyring.remove("AB")


def test_keys_are_added_replaced_and_removed(keyring: Keyring) -> None:
    one, two = key(1, comment="Ann", added=NOW), key(2, plugins=("acme-*",))
    keyring.add(one)
    keyring.add(two)
    assert keyring.keys() == {one.id: one, two.id: two}
    assert keyring.path.stat().st_mode & 0o777 == 0o644
    other = key(1, comment="Ann at work")
    keyring.add(other)
    assert keyring.find(one.id.lower()).comment == "Ann at work"
    keyring.remove(two.id)
    assert list(keyring.keys()) == [one.id]


def test_the_last_key_goes_and_another_one_comes(keyring: Keyring) -> None:
    keyring.add(key(1))
    keyring.remove(key(1).id)
    assert keyring.keys() == {}
    keyring.add(key(2))
    keyring.add(key(1))
    assert list(keyring.keys()) == [key(2).id, key(1).id]


def test_comments_and_what_is_not_known_stay(keyring: Keyring) -> None:
    keyring.add(key(1))
    text = keyring.path.read_text().replace("[[key]]", '# our own\n[[key]]\nnewer = "kept"')
    keyring.path.write_text(text)
    keyring.add(key(2))
    changed = keyring.path.read_text()
    assert "# our own" in changed
    assert 'newer = "kept"' in changed


def test_a_revoked_key_stays_and_is_not_trusted_again(keyring: Keyring) -> None:
    keyring.add(key(1))
    revoked = keyring.revoke(key(1).id, "stolen")
    assert keyring.keys()[revoked.id].problem().endswith(": stolen")
    with pytest.raises(ConfigError, match="cannot be trusted again"):
        keyring.add(key(1))


@pytest.mark.parametrize(
    ("not_after", "problem"), [(None, ""), (NOW.replace(day=27, tzinfo=None), "since 2026-11-27")]
)
def test_a_key_may_end(not_after: datetime | None, problem: str) -> None:
    assert problem in key(not_after=not_after).problem(NOW)
    assert bool(key(not_after=not_after).problem(NOW)) is bool(problem)


@pytest.mark.parametrize(
    ("fields", "plugin", "source", "words"),
    [
        ({}, "example", "/x.vp", ""),
        ({"plugins": ("acme-*", "example")}, "example", "/x.vp", ""),
        ({"plugins": ("acme-*",)}, "example", "/x.vp", "may sign acme-*, and this is example"),
        ({"sources": ("https://a/",)}, "example", "https://a/x.vp", ""),
        ({"sources": ("https://a/",)}, "example", "https://b/x.vp", "from https://b/x.vp"),
        ({"sources": ("https://a",)}, "example", "https://a.evil/x.vp", "from https://a.evil/x.vp"),
    ],
)
def test_a_key_has_a_scope(fields, plugin: str, source: str, words: str) -> None:
    problem = key(**fields).may_sign(plugin, source)
    assert words in problem
    assert bool(problem) is bool(words)


def test_a_scope_that_takes_any_plugin_names_none() -> None:
    assert key(plugins=("exam*",)).names("example")
    assert not key(plugins=("*",)).names("example")
    assert not key().names("example")


def test_succession_goes_back_and_ends_in_a_circle() -> None:
    keys = {one.id: one for one in (key(1), key(2, succeeds=key(1).id), key(3))}
    assert list(predecessors(key(2).id, keys)) == [key(1).id]
    assert list(predecessors(key(3).id, keys)) == []
    circle = {one.id: one for one in (key(1, succeeds=key(2).id), key(2, succeeds=key(1).id))}
    assert list(predecessors(key(1).id, circle)) == [key(2).id]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[key", "not a valid trust file"),
        ("", "format is None"),
        ("format = 99", "supports at most 1"),
        ("format = 1\n[[key]]\n", "missing required field"),
        (f'format = 1\n[[key]]\nid = "AB"\nkey = "{key(1).key}"', "the id is AB"),
        ('format = 1\n[[key]]\nid = "AB"\nkey = "no"', "[[key]]"),
        ("format = 1" + f'\n[[key]]\nid = "{key(1).id}"\nkey = "{key(1).key}"' * 2, "two tables"),
    ],
)
def test_a_file_that_cannot_be_used_is_left_as_it_is(
    keyring: Keyring, text: str, words: str
) -> None:
    keyring.path.write_text(text)
    for ask in (keyring.keys, lambda: keyring.add(key(2))):
        with pytest.raises(ConfigError) as caught:
            ask()
        assert words in str(caught.value)
    assert keyring.path.read_text() == text


def test_a_file_that_others_may_write_is_not_obeyed(keyring: Keyring) -> None:
    keyring.add(key(1))
    keyring.path.chmod(0o666)
    with pytest.raises(ConfigError, match="is not obeyed"):
        keyring.keys()
