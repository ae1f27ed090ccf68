"""``list``, ``status`` and ``why``; ``test_control`` has the first two as tables."""

from __future__ import annotations

import json

import pytest
from tests.support.fake_manager import FakeManager, plugin_summary, served_beside

from vconnect.cli.boundary import run
from vconnect.cli.root import root

pytestmark = pytest.mark.usefixtures("clean_surroundings")

Printed = pytest.CaptureFixture[str]


def vconnect(*arguments: str) -> int:
    return run(root, arguments)


def test_why_is_one_line_and_its_exit_code_says_whether_it_serves(capsys: Printed) -> None:
    manager = FakeManager(plugin_summary("well"), plugin_summary("ill", serving=False))
    with served_beside(manager) as path:
        admin = str(path)
        assert vconnect("why", "well", "--admin", admin) == 0
        assert capsys.readouterr().out.count("\n") == 1
        assert vconnect("why", "ill", "--admin", admin) == 1
        assert vconnect("why", "wel", "--admin", admin) == 4
        assert "did you mean 'well'?" in capsys.readouterr().err
        assert vconnect("why", "well", "--json", "--admin", admin) == 0
        assert json.loads(capsys.readouterr().out)["code"] == "healthy"


def test_without_a_host_it_says_so(capsys: Printed) -> None:
    for command in (("why", "x"), ("list",), ("status",)):
        assert vconnect(*command, "--admin", "/nowhere/admin.sock") == 5
        assert "no vconnect host answers" in capsys.readouterr().err
        assert vconnect(*command, "--json", "--admin", "/nowhere/admin.sock") == 5
        assert json.loads(capsys.readouterr().out)["error"]["code"] == "host_unreachable"
