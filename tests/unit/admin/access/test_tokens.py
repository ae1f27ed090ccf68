"""Tokens, codes that work once, and sessions that end."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from tests.support.clock import Clock

from vconnect.admin.access.tokens import Access, keep_token, read_token
from vconnect.admin.http.problems import Problem
from vconnect.errors import ConfigError

OPERATE, VIEW = "o" * 32, "v" * 32


class Made:
    def __init__(self) -> None:
        self.clock = Clock()
        self.one = Access({"operate": OPERATE, "view": VIEW}, self.clock)

    def begin(self, **given: str | None) -> str:
        return self.one.begin(**{"peer": "p", "token": None, "code": None, **given})

    def refused(self, code: str, ask) -> Problem:
        with pytest.raises(Problem) as caught:
            ask()
        assert caught.value.code == code
        return caught.value


def test_each_token_has_its_role() -> None:
    made = Made()
    assert made.one.by_token(OPERATE, "p").role == "operate"
    assert made.one.by_token(VIEW, "p").role == "view"


def test_a_code_begins_one_session_and_no_second_one() -> None:
    made = Made()
    code = made.one.new_code()
    assert made.one.by_session(made.begin(code=code)).role == "operate"
    made.refused("bad_token", lambda: made.begin(code=code))


def test_a_code_is_worth_nothing_after_a_minute() -> None:
    made = Made()
    early, late = made.one.new_code(), made.one.new_code()
    made.clock.now += 59
    made.begin(code=early)
    made.clock.now += 1
    made.refused("bad_token", lambda: made.begin(code=late))


def test_a_session_keeps_the_role_of_its_token() -> None:
    made = Made()
    assert made.one.by_session(made.begin(token=VIEW)).role == "view"
    made.refused("bad_token", lambda: made.begin(token="x"))
    made.refused("bad_token", lambda: made.begin())


def test_a_session_ends_after_twelve_hours_or_eight_idle_ones() -> None:
    made = Made()
    used, idle = made.begin(token=OPERATE), made.begin(token=OPERATE)
    for _ in range(2):
        made.clock.now += 5 * 3600
        made.one.by_session(used)
    made.refused("session_ended", lambda: made.one.by_session(idle))
    made.clock.now += 2 * 3600 + 1
    made.refused("session_ended", lambda: made.one.by_session(used))


def test_a_session_that_was_ended_is_none() -> None:
    made = Made()
    secret = made.begin(token=OPERATE)
    made.one.end(secret)
    made.one.end(secret)
    made.refused("session_ended", lambda: made.one.by_session(secret))


def test_there_are_only_so_many_sessions_and_the_least_used_goes() -> None:
    made = Made()
    secrets = []
    for _ in range(257):
        made.clock.now += 1
        secrets.append(made.begin(token=OPERATE))
    made.refused("session_ended", lambda: made.one.by_session(secrets[0]))
    made.one.by_session(secrets[1])


def test_ten_wrong_tokens_are_enough_for_a_minute_and_the_right_one_still_counts() -> None:
    made = Made()
    for _ in range(10):
        made.refused("bad_token", lambda: made.one.by_token("x", "p"))
        made.clock.now += 1
    problem = made.refused("too_many_tries", lambda: made.one.by_token("x", "p"))
    assert problem.headers == {"Retry-After": "50"}
    made.refused("too_many_tries", lambda: made.begin(code="x"))
    assert made.one.by_token(OPERATE, "p").role == "operate"
    made.refused("bad_token", lambda: made.one.by_token("x", "q"))
    made.clock.now += 51
    made.refused("bad_token", lambda: made.one.by_token("x", "p"))


def test_wrong_codes_count_like_wrong_tokens() -> None:
    made = Made()
    for _ in range(10):
        made.refused("bad_token", lambda: made.begin(code="x"))
    made.refused("too_many_tries", lambda: made.begin(token="x"))


def test_many_peers_cost_a_bounded_amount() -> None:
    made = Made()
    for number in range(3000):
        made.refused("bad_token", lambda number=number: made.one.by_token("x", str(number)))
    assert len(made.one._failures) == 1024


def test_nothing_secret_is_kept_as_it_is() -> None:
    made = Made()
    secret, code = made.begin(token=OPERATE), made.one.new_code()
    kept = repr({name: getattr(made.one, name) for name in vars(made.one)})
    assert not [one for one in (OPERATE, VIEW, secret, code) if one in kept]


def _file(directory: Path) -> Path:
    path = directory / "file"
    path.touch()
    return path


# --- files -----------------------------------------------------------------------------------


def test_a_token_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "admin.token"
    old = os.umask(0)
    try:
        token = keep_token(path)
    finally:
        os.umask(old)
    assert len(token) == 64
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert keep_token(path) == read_token(path) == token


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [
        ("a" * 32, 0o644, "chmod 600"),
        ("a" * 32, 0o640, "chmod 600"),
        ("a" * 32, 0o604, "chmod 600"),
        ("a" * 15, 0o600, "15 characters"),
        ("\n", 0o600, "0 characters"),
        ("ä" * 32, 0o600, "cannot be read"),
    ],
)
def test_a_file_that_is_no_secret_is_refused(
    tmp_path: Path, text: str, mode: int, words: str
) -> None:
    path = tmp_path / "token"
    path.write_text(text, "utf-8")
    path.chmod(mode)
    with pytest.raises(ConfigError, match=words) as caught:
        read_token(path)
    assert text.strip() not in str(caught.value) or not text.strip()


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        read_token(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="cannot be written"):
        keep_token(_file(tmp_path) / "token")
