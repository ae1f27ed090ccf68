"""``vconnect doctor`` with and without a host; ``checks/test_doctor`` has the checks."""

from __future__ import annotations

import json

import pytest
from tests.support.fake_manager import FakeManager, served_beside

from vconnect.cli.boundary import run
from vconnect.cli.root import root

pytestmark = pytest.mark.usefixtures("clean_surroundings")


def test_it_needs_no_host(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(root, ["doctor", "--json", "--admin", "/nowhere/admin.sock"]) in (0, 1)
    found = json.loads(capsys.readouterr().out)
    assert {one["level"] for one in found["checks"]} <= {"ok", "warn", "fail"}
    assert all(one["next"] for one in found["checks"] if one["level"] == "fail")


def test_it_asks_the_host_that_runs(capsys: pytest.CaptureFixture[str]) -> None:
    with served_beside(FakeManager()) as path:
        assert run(root, ["doctor", "--admin", str(path)]) in (0, 1)
    assert "ok" in capsys.readouterr().out
