"""Plugins are removed; if that fails, they go on."""

from __future__ import annotations

import pytest
from tests.support.lab import ECHO, Lab

from vconnect.errors import ConflictError, InstallError
from vconnect.packages.pack import pack


def package(lab: Lab, name: str, **manifest: object) -> str:
    source = lab.source(name, ECHO, below="source", version="1", **manifest)
    return str(pack(source, lab.directory / f"{name}.vp").path)


async def test_a_removal_that_fails_leaves_the_plugin_running(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lab.manager() as runtime:
        await runtime.packages.install([package(lab, "one")])

        def fail(*_: object) -> None:
            raise InstallError("the disk is read-only")

        monkeypatch.setattr(runtime.packages._store, "uninstall", fail)
        (change,) = await runtime.packages.uninstall(["one"])
        assert (change.result, change.reason) == ("failed", "the disk is read-only")
        assert runtime.summary("one").status == "Running"


async def test_what_others_require_goes_with_them_only(lab: Lab) -> None:
    async with lab.manager() as runtime:
        await runtime.packages.install([package(lab, "one"), package(lab, "two", requires=["one"])])
        removal = runtime.packages._removal
        with pytest.raises(ConflictError, match="is required by two"):
            removal.check_not_required(runtime._registry.get("one"), set())
        removal.check_not_required(runtime._registry.get("one"), {"two"})


async def test_data_that_stays_is_told(lab: Lab) -> None:
    async with lab.manager() as runtime:
        await runtime.packages.install([package(lab, "one")])
        data = lab.state / "data" / "one"
        (data / "row").touch()
        assert str(data) in await runtime.packages._removal.what_stays(runtime._registry.get("one"))
        (change,) = await runtime.packages.uninstall(["one"], purge=True)
        assert (change.result, change.reason) == ("removed", "")
        assert not data.exists()
