"""One table for all commands."""

from __future__ import annotations

import pytest

from vconnect.cli.exit_codes import exit_code_of, worst


@pytest.mark.parametrize(
    ("codes", "code"),
    [
        ([], 0),
        ([0, 0], 0),
        ([1, 0, 4], 4),
        ([4, 7, 1], 7),
        ([7, 8, 124], 8),
        ([124, 3], 124),
        ([8, 2], 2),
    ],
)
def test_the_worst_of_several_is_the_commands(codes: list[int], code: int) -> None:
    assert worst(codes) == code


def test_what_has_no_code_of_its_own_is_a_failure() -> None:
    assert exit_code_of("install_error") == exit_code_of("") == 1
    assert exit_code_of("conflict") == 7
