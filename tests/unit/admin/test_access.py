"""Tokens, codes and sessions."""

from __future__ import annotations

import pytest

from vconnect.admin.access import Access, keep_token, read_token
from vconnect.admin.problems import Problem
from vconnect.errors import ConfigError


@pytest.fixture
def now():
    return [0.0]


@pytest.fixture
def access(now):
    return Access({"operate": "o" * 32, "view": "v" * 32}, lambda: now[0])


def refused(expected, call, *args, **more):
    with pytest.raises(Problem) as caught:
        call(*args, **more)
    assert caught.value.code == expected
    return caught.value


def test_each_token_has_its_role(access):
    assert access.by_token("o" * 32, "p").role == "operate"
    assert access.by_token("v" * 32, "p").role == "view"
    for wrong in ("", "o" * 31, "o" * 33, "ö", "\udcff"):
        refused("bad_token", access.by_token, wrong, "p")


def test_a_code_begins_one_session_within_a_minute(access, now):
    code = access.new_code()
    secret = access.begin(peer="p", token=None, code=code)
    assert access.by_session(secret).role == "operate"
    refused("bad_token", access.begin, peer="p", token=None, code=code)
    late = access.new_code()
    now[0] += 61
    refused("bad_token", access.begin, peer="p", token=None, code=late)


def test_a_session_ends_after_its_time_and_when_it_is_told_to(access, now):
    used, idle, ended = (access.begin(peer="p", token="v" * 32, code=None) for _ in range(3))
    access.end(ended)
    refused("session_ended", access.by_session, ended)
    now[0] += 7.9 * 3600
    assert access.by_session(used).role == "view"
    now[0] += 0.2 * 3600
    refused("session_ended", access.by_session, idle)
    now[0] += 4 * 3600
    refused("session_ended", access.by_session, used)
    refused("session_ended", access.by_session, "made up")


def test_ten_wrong_tokens_are_enough_for_a_minute(access, now):
    for _ in range(10):
        refused("bad_token", access.by_token, "wrong", "p")
    problem = refused("too_many_tries", access.by_token, "o" * 32, "p")
    assert problem.headers["Retry-After"] == "60"
    assert access.by_token("o" * 32, "another").role == "operate"
    now[0] += 61
    assert access.by_token("o" * 32, "p").role == "operate"


def test_peers_that_are_made_up_take_no_memory(access):
    for number in range(5000):
        refused("bad_token", access.by_token, "wrong", f"peer{number}")
    assert len(access._failures) == 1024
    for _ in range(300):
        access.begin(peer="p", token="o" * 32, code=None)
    assert len(access._sessions) == 256


def test_a_token_is_made_once_and_is_private(tmp_path):
    file = tmp_path / "admin.token"
    token = keep_token(file)
    assert (len(token), file.stat().st_mode & 0o777) == (64, 0o600)
    assert keep_token(file) == read_token(file) == token


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [
        (b"x" * 32, 0o644, "can be read by others"),
        (b"short", 0o600, "5 characters"),
        (b"\xff" * 32, 0o600, "cannot be read"),
    ],
)
def test_a_file_that_is_not_private_or_holds_no_token_is_refused(tmp_path, text, mode, words):
    file = tmp_path / "token"
    file.write_bytes(text)
    file.chmod(mode)
    with pytest.raises(ConfigError, match=words):
        read_token(file)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_token(tmp_path / "missing")
