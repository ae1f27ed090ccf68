"""``vconnect top`` in a pipe; ``cli/test_watching`` has its screen."""

from __future__ import annotations

import json

import pytest
from tests.support.fake_manager import FakeManager, plugin_summary, served_beside

from vconnect.cli.boundary import run
from vconnect.cli.root import root

pytestmark = pytest.mark.usefixtures("clean_surroundings")


def test_in_a_pipe_it_prints_once(capsys: pytest.CaptureFixture[str]) -> None:
    with served_beside(FakeManager(plugin_summary("example", serving=True))) as path:
        assert run(root, ["top", "--admin", str(path)]) == 0
        assert "example" in capsys.readouterr().out
        assert run(root, ["top", "-n", "2", "-d", "0.2", "--json", "--admin", str(path)]) == 0
        lines = capsys.readouterr().out.splitlines()
    frames = [json.loads(line) for line in lines]
    assert [frame["plugins"][0]["name"] for frame in frames] == ["example"] * 2
    # The host's name, as in `list`, and what `status` says of it.
    assert frames[0]["host"] == frames[0]["status"]["name"]
