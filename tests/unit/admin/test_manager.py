"""What the interface uses of the manager is there, with the arguments that it gives."""

from __future__ import annotations

import inspect

import pytest
from tests.support.fake_manager import FakeManager

from vconnect.admin.manager import Manager
from vconnect.host.manager import PluginRuntimeManager

MEMBERS = [name for name in vars(Manager) if not name.startswith("_")]
METHODS = [name for name in MEMBERS if inspect.isfunction(getattr(Manager, name))]


@pytest.mark.parametrize("kind", [PluginRuntimeManager, FakeManager])
@pytest.mark.parametrize("name", METHODS)
def test_it_has_each_method(kind: type, name: str) -> None:
    wanted = inspect.signature(getattr(Manager, name)).parameters
    given = inspect.signature(getattr(kind, name)).parameters
    assert set(wanted) <= set(given)


def test_it_has_each_part() -> None:
    manager = FakeManager()
    real = PluginRuntimeManager()
    for name in [*Manager.__annotations__, "settings", "registry"]:
        assert type(getattr(manager, name)) is not None
        assert getattr(real, name) is not None
