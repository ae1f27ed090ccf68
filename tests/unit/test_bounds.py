"""What a peer may say, in bytes."""

from __future__ import annotations

import pytest

from vconnect.bounds import MAX_NAME_BYTES, cut, find_excess, size_of


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], ""),
        (["x" * MAX_NAME_BYTES] * 3, ""),
        (["x"] * 4, "has 4 entries; the limit is 3"),
        (["x" * 256], "has an entry of 256 bytes; the limit is 255"),
        (["é" * 128], "has an entry of 256 bytes; the limit is 255"),
        (["\ud800" * 85], ""),
        (["\ud800" * 86], "has an entry of 258 bytes; the limit is 255"),
    ],
)
def test_names(names: list[str], words: str) -> None:
    assert find_excess(names, 3) == words


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        ("", ""),
        ("x" * 1024, "x" * 1024),
        ("x" * 1025, "x" * 1024 + "… (1025 bytes)"),
        ("é" * 512, "é" * 512),
        ("xé" * 342, "xé" * 341 + "x… (1026 bytes)"),
        ("\ud800" * 500, "… (1500 bytes)"),
    ],
)
def test_words(words: str, kept: str) -> None:
    assert cut(words) == kept


def test_the_size_is_that_of_the_bytes() -> None:
    assert [size_of(text) for text in ("", "x", "é", "€", "𐍈", "\ud800")] == [0, 1, 2, 3, 4, 3]
