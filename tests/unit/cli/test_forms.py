"""What commands print as JSON that is no answer of the host."""

from __future__ import annotations

import json

import pytest

from vconnect.cli.forms import ErrorWords, Failure, LostEvents, Refused
from vconnect.cli.output import print_json_lines

ERROR = {"code": "conflict", "message": "it is installed", "next": "", "status": None}


@pytest.mark.parametrize(
    ("form", "printed"),
    [
        (Failure(error=ErrorWords(code="conflict", message="it is installed")), {"error": ERROR}),
        (
            Refused(name="a", error=ErrorWords(code="conflict", message="it is installed")),
            {"name": "a", "error": ERROR},
        ),
        (LostEvents(dropped=None), {"dropped": None}),
    ],
)
def test_each_key_is_there(
    form: object, printed: object, capsys: pytest.CaptureFixture[str]
) -> None:
    print_json_lines([form])
    assert json.loads(capsys.readouterr().out) == printed
