"""``vconnect ui``; ``cli/test_terminal_ui`` presses its keys."""

from __future__ import annotations

import pytest

from vconnect.cli.boundary import run
from vconnect.cli.root import root


def test_its_help_says_what_it_shows(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(root, ["ui", "--help"]) == 0
    assert "whole terminal" in capsys.readouterr().out
