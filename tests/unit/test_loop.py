"""Which loop a host runs on, with uvloop and without."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from vconnect.errors import ConfigError
from vconnect.loop import loop_factory


def new_loop() -> None:
    raise AssertionError("a loop is only chosen")


@pytest.fixture(params=["installed", "missing"])
def installed(request, monkeypatch) -> bool:
    module = ModuleType("uvloop")
    module.new_event_loop = new_loop  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "uvloop", module if request.param == "installed" else None)
    return request.param == "installed"


def test_whoever_does_not_want_it_does_without(installed):
    assert loop_factory(False) is None


def test_it_is_taken_where_it_is(installed):
    assert loop_factory(None) is (new_loop if installed else None)


def test_whoever_insists_is_told_what_to_do(installed):
    if installed:
        assert loop_factory(True) is new_loop
        return
    with pytest.raises(ConfigError, match=r"not installed; install it .* or run with --no-uvloop"):
        loop_factory(True)
