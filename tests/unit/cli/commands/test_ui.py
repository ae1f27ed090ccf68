"""``vconnect ui``; ``cli/test_terminal_ui`` presses its keys."""

from __future__ import annotations

import pytest

from vconnect.cli.boundary import run
from vconnect.cli.root import root


def test_its_help_says_what_it_shows(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(root, ["ui", "--help"]) == 0
    assert "whole terminal" in capsys.readouterr().out


def test_it_needs_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(root, ["ui", "--admin", "/nowhere.sock"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: it needs a terminal for its input and its output; ")
