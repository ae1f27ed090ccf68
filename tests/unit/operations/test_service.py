"""What was installed is brought into service, or the reason why not is told."""

from __future__ import annotations

import pytest
from tests.support.lab import ECHO, Lab

from vconnect.errors import PluginStartError
from vconnect.operations.rows import change_of
from vconnect.packages.pack import pack


def package(lab: Lab, version: str = "1") -> str:
    source = lab.source("one", ECHO, below=f"source-{version}", version=version)
    return str(pack(source, lab.directory / f"one-{version}.vp").path)


async def test_what_changed_is_kept_if_a_new_process_fails(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lab.manager() as runtime:
        await runtime.packages.install([package(lab)])
        service = runtime.packages._service
        current = runtime._registry.get("one").current_version
        planned = change_of("install", "one", current, current, "unchanged")

        async def fail(name: str) -> None:
            raise PluginStartError(name, "a new process failed: no; the old one keeps running")

        monkeypatch.setattr(service._orders, "restart_plugin", fail)
        failed = await service.renew(planned, "granted")
        assert (failed.result, failed.code) == ("failed", "start_failed")
        assert failed.reason == (
            "granted, but a new process did not get ready: no; the old process serves on"
        )


async def test_what_is_stopped_stays_so(lab: Lab) -> None:
    async with lab.manager() as runtime:
        await runtime.packages.install([package(lab)], start=False)
        service = runtime.packages._service
        current = runtime._registry.get("one").current_version
        planned = change_of("install", "one", current, current, "unchanged")
        assert (await service.renew(planned, "repaired")).result == "repaired"
        assert runtime.summary("one").pid is None
        await runtime.start_plugin("one")
        before = runtime.summary("one").pid
        assert (await service.renew(planned, "repaired")).result == "repaired"
        assert runtime.summary("one").pid != before
        await runtime.stop_plugin("one")
        assert (await service.renew(planned, "repaired")).result == "repaired"
        assert runtime.summary("one").pid is None, "the operator has stopped it"


async def test_a_stopped_plugin_waits_with_its_next_version(lab: Lab) -> None:
    async with lab.manager() as runtime:
        await runtime.packages.install([package(lab)])
        await runtime.disable_plugin("one")
        (made,) = await runtime.packages.install([package(lab, "2")], upgrade=True)
        assert made.result == "waiting"
        assert "vconnect enable one" in made.reason
