"""The entry point: arguments in, an exit code out."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator

import pytest

from vconnect.cli.interrupts import as_usual
from vconnect.cli.main import main


@pytest.fixture(autouse=True)
def interrupts() -> Iterator[None]:
    """Let Ctrl-C end the tests as usual."""
    yield
    as_usual()


@pytest.mark.parametrize(
    ("arguments", "code"), [(["--version"], 0), (["--nope"], 2), ([], 0), (["status", ""], 2)]
)
def test_it_exits_with_the_commands_code(arguments: list[str], code: int) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == code


def test_without_arguments_of_its_own_it_takes_the_processs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["vconnect", "--version"])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().out.startswith("vconnect ")


def test_no_arguments_are_not_the_processs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["vconnect", "--version"])
    with pytest.raises(SystemExit):
        main(())
    assert capsys.readouterr().out.startswith("Usage: vconnect ")


def test_a_terminal_that_lacks_a_letter_gets_its_escape(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="latin-1", errors="strict")
    monkeypatch.setattr(sys, "stderr", terminal)
    with pytest.raises(SystemExit):
        main(["ü名前"])
    terminal.flush()
    assert b"\xfc\\u540d\\u524d" in terminal.buffer.getvalue()


def test_a_stream_that_is_closed_does_not_hinder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
