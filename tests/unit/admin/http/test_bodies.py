"""Bodies become structs, or an error that names the field."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import pytest

from vconnect.admin.http.asked import Asked, TooLargeError
from vconnect.admin.http.bodies import body_of, parse_body, query_of, stream_body, whole_body
from vconnect.admin.http.problems import Problem


class Wanted(msgspec.Struct, forbid_unknown_fields=True):
    names: list[str]
    count: int = 1


def test_a_body_becomes_a_struct() -> None:
    assert parse_body(b'{"names": ["a"]}', Wanted) == Wanted(["a"])


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "the body cannot be read: "),
        (b"[", "the body cannot be read: "),
        (b"{}", "names"),
        (b'{"names": [1]}', "names[0]: expected `str`, got `int`"),
        (b'{"names": [], "more": 1}', "more"),
        (b'{"names": [' + b'"a",' * 600_000 + b'"a"]}', "the body cannot be read: payload has"),
    ],
    ids=["nothing", "half", "missing", "wrong", "unknown", "huge"],
)
def test_what_is_wrong_is_named(body: bytes, words: str) -> None:
    with pytest.raises(Problem) as caught:
        parse_body(body, Wanted)
    assert words in str(caught.value)
    assert caught.value.code in ("bad_json", "bad_field")


def test_a_wrong_field_is_named_by_itself() -> None:
    with pytest.raises(Problem) as caught:
        parse_body(b'{"names": [1]}', Wanted)
    (error,) = caught.value.members["errors"]
    assert error == {"field": "names[0]", "detail": "expected `str`, got `int`"}


def asked(query: str = "", body: bytes = b"") -> Asked:
    async def read() -> bytes:
        return body

    pairs = tuple((key, value) for key, _, value in (one.partition("=") for one in query.split()))
    return Asked("GET", "/", pairs, {}, read, "socket")


class Query(msgspec.Struct, forbid_unknown_fields=True):
    lines: int = 100
    since: float = 0.0
    is_wide: bool = False
    plugin: tuple[str, ...] = ()


def test_a_query_becomes_a_struct() -> None:
    got = query_of(asked("lines=5 since=1.5 is_wide=true plugin=a plugin=b"), Query)
    assert got == Query(5, 1.5, True, ("a", "b"))


@pytest.mark.parametrize(
    ("query", "place", "words"),
    [
        ("lines=many", "lines", "expected `int`"),
        ("lines=1 lines=2", "lines", "it is given twice"),
        ("line=1", "", "line"),
        ("since=soon", "since", "expected `float`"),
    ],
)
def test_a_wrong_key_of_a_query_is_named(query: str, place: str, words: str) -> None:
    with pytest.raises(Problem) as caught:
        query_of(asked(query), Query)
    assert caught.value.code == "bad_query"
    (error,) = caught.value.members["errors"]
    assert error["field"] == place
    assert words in error["detail"]


async def test_only_an_optional_body_may_be_empty() -> None:
    assert await body_of(asked(body=b" \n"), Query, optional=True) == Query()
    with pytest.raises(Problem) as caught:
        await body_of(asked(body=b""), Query)
    assert caught.value.code == "bad_json"


def streamed(*parts: bytes, length: str = "") -> Asked:
    async def stream() -> AsyncIterator[bytes]:
        for part in parts:
            yield part

    made = asked()
    made.stream = stream
    made.headers = {"content-length": length} if length else {}
    return made


@pytest.mark.parametrize("length", ["", "4", "x", "9" * 30, "\u0664"])
async def test_a_large_body_comes_in_parts(length: str) -> None:
    parts = [part async for part in stream_body(streamed(b"ab", b"cd", length=length), 4)]
    assert parts == [b"ab", b"cd"]


async def test_a_large_body_ends_at_its_limit() -> None:
    body = stream_body(streamed(b"ab", b"cd"), 3)
    assert await anext(body) == b"ab"
    with pytest.raises(Problem, match="larger than 3 bytes") as caught:
        await anext(body)
    assert caught.value.code == "too_large"


async def test_a_large_body_that_is_announced_is_not_even_read() -> None:
    body = stream_body(streamed(b"ab", length="4"), 3)
    with pytest.raises(Problem, match="larger than 3 bytes"):
        await anext(body)


async def test_a_body_above_the_limit_is_a_problem_for_every_reader() -> None:
    async def read() -> bytes:
        raise TooLargeError("the body is larger than 1 bytes")

    made = asked()
    made.read = read
    for reading in (whole_body(made), body_of(made, Wanted)):
        with pytest.raises(Problem, match="larger than 1 bytes") as caught:
            await reading
        assert caught.value.code == "too_large"
