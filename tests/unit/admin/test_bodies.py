"""Bodies become structs, or an error that names the field."""

from __future__ import annotations

import msgspec
import pytest

from vconnect.admin.bodies import parse_body
from vconnect.admin.problems import Problem


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
