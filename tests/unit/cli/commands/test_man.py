"""``vconnect man``; ``cli/test_manual`` has the page."""

from __future__ import annotations

import pytest

from vconnect.cli.boundary import run
from vconnect.cli.root import root


def test_it_prints_a_page_with_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(root, ["man"]) == 0
    page = capsys.readouterr().out
    assert page.startswith(".TH") or page.splitlines()[1].startswith(".TH")
    for name in root.places:
        assert name in page.replace("\\-", "-")
