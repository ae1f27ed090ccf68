"""The manual page names everything, and is roff that man accepts."""

from __future__ import annotations

import shutil
import subprocess

import click
import pytest

from vconnect.cli.manual import manual_page
from vconnect.cli.root import root


@pytest.fixture(scope="module")
def page() -> str:
    # With the root's own settings: a command keeps the help options of its first context.
    return manual_page(click.Context(root, info_name="vconnect", **root.context_settings))


def test_it_has_every_command_and_its_options(page: str) -> None:
    for name in root.places:
        assert f'.SS "vconnect {name}' in page, name
    assert "\\-\\-passed\\-over" in page
    assert ".SH EXIT STATUS" in page


@pytest.mark.skipif(shutil.which("man") is None, reason="needs man")
def test_man_has_no_complaint(page: str) -> None:
    done = subprocess.run(
        ["man", "--warnings", "-l", "-"],
        input=page,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        env={"LC_ALL": "C.UTF-8", "MANPAGER": "cat", "PATH": "/usr/bin:/bin"},
    )
    assert done.stderr == ""
