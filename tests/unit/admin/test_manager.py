"""The real manager has everything that the interface uses of it."""

from __future__ import annotations

from vconnect import PluginRuntimeManager
from vconnect.admin.manager import Manager


def test_the_manager_has_it_all(tmp_path):
    manager = PluginRuntimeManager(plugin_dir=tmp_path, socket_path=tmp_path / "r.sock")
    names = {name for name in vars(Manager) if not name.startswith("_")} | set(
        Manager.__annotations__
    )
    assert [name for name in sorted(names) if not hasattr(manager, name)] == []
