"""How a client reads answers."""

from __future__ import annotations

import pytest

from vconnect.admin.client.responses import decode
from vconnect.errors import AdminError


def test_a_value_is_returned_and_a_problem_is_raised() -> None:
    assert decode(200, b'{"a": 1}') == {"a": 1}
    problem = b'{"status": 409, "code": "conflict", "detail": "no", "next": "wait", "error": {}}'
    with pytest.raises(AdminError) as caught:
        decode(409, problem)
    assert (caught.value.status, caught.value.code, caught.value.next) == (409, "conflict", "wait")


@pytest.mark.parametrize(("status", "body"), [(200, b"<html>"), (500, b"{}"), (404, b"[]")])
def test_what_is_no_answer_of_a_host_is_told(status: int, body: bytes) -> None:
    with pytest.raises(AdminError, match="not from a vconnect host"):
        decode(status, body)
