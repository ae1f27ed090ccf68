"""``vconnect ui``; ``cli/test_terminal_ui`` presses its keys."""

from __future__ import annotations

import pytest

from vconnect.cli.boundary import run
from vconnect.cli.root import root


def test_its_help_names_the_extra(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(root, ["ui", "--help"]) == 0
    assert "tui" in capsys.readouterr().out
