"""``vconnect dev``; ``integration/test_dev`` runs real plugins."""

from __future__ import annotations

import pytest

from vconnect.cli.boundary import run
from vconnect.cli.root import root


def test_what_is_no_directory_of_a_plugin_is_told(
    tmp_path: object, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(root, ["dev", f"{tmp_path}/nothing"]) == 2
    assert "nothing" in capsys.readouterr().err
