"""Plugins that run from source, as they are written."""

from __future__ import annotations

from pathlib import Path

import pytest

from vconnect.errors import ConfigError
from vconnect.settings.dev_plugins import DevPlugin, dev_plugin, parse_dev_plugin


def test_split_dev_plugin():
    assert parse_dev_plugin("v.plugin.x:./a:b") == DevPlugin("x", Path.cwd() / "a:b")
    for bad in ("x", "x:", ":path", "", "a b:c"):
        with pytest.raises(ConfigError, match="dev plugin"):
            parse_dev_plugin(bad)


def test_a_name_and_a_path_that_are_apart() -> None:
    assert dev_plugin("wk.plugin.x", "/y") == DevPlugin("x", Path("/y"))
    with pytest.raises(ConfigError, match=r"the name is '\.\./x'"):
        dev_plugin("../x", "/y")
