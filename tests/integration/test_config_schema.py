"""``config_schema``: what it does not allow neither starts nor is changed to."""

from __future__ import annotations

import asyncio
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.support.lab import ECHO, Lab

from vconnect.errors import ConfigError, InstallError, ManifestError, PluginStartError
from vconnect.packages.pack import pack

pytestmark = pytest.mark.both_loops

SCHEMA = {
    "properties": {"greeting": {"type": "string"}},
    "required": ["greeting"],
    "additionalProperties": False,
}
NATIVE = "serve_native()"


async def test_a_wrong_configuration_starts_no_process(lab: Lab) -> None:
    lab.plugin("a", ECHO, config_schema=SCHEMA)
    async with lab.manager(config={"a": {"greting": "hello"}}, restart="always") as runtime:
        await runtime.discover_plugins()
        with pytest.raises(PluginStartError, match="invalid configuration"):
            await runtime.start_plugin("a")
        summary = runtime.summary("a")
        assert (summary.status, summary.substate, summary.pid) == ("Error", "bad_config", None)
        assert summary.reason.startswith("invalid configuration: $: ")
        assert summary.reason.endswith("; set it in [plugins.config.a]")
        assert summary.next_retry_at is not None  # in five minutes: it is permanent
        assert not summary.crashes


async def test_one_that_fits_starts(lab: Lab) -> None:
    lab.plugin("a", ECHO, config_schema=SCHEMA, config={"greeting": "hello"})
    async with lab.manager() as runtime:
        await runtime.start_all()
        assert runtime.summary("a").status == "Running"


async def test_a_live_change_that_does_not_fit_is_refused(lab: Lab) -> None:
    lab.plugin("a", NATIVE, config_schema=SCHEMA, config={"greeting": "hello"})
    async with lab.manager() as runtime:
        await runtime.start_all()
        with pytest.raises(ConfigError, match=r"a: invalid configuration: \$.greeting: expected s"):
            await runtime.update_config("a", {"greeting": 5})
        await runtime.update_config("a", {"greeting": "good day"})
        await runtime.restart_plugin("a")


async def test_a_new_version_with_another_schema_leaves_the_old_one_serving(lab: Lab) -> None:
    async with lab.manager(config={"a": {"greeting": "hello"}}) as runtime:
        await runtime.install_from_url(str(package(lab, "1", SCHEMA)))
        await runtime.start_all()
        pid = runtime.summary("a").pid
        stricter = {"properties": {"greeting": {"type": "integer"}}}
        await runtime.install_from_url(str(package(lab, "2", stricter)))
        with pytest.raises(PluginStartError, match=r"\$.greeting: expected integer, got string"):
            await runtime.restart_plugin("a")
        assert (runtime.summary("a").pid, runtime.summary("a").version) == (pid, "1")


async def test_a_package_with_no_schema_in_its_place_is_not_installed(lab: Lab) -> None:
    source = lab.source("a", ECHO, below="sources", entry="a")
    file = pack(source, lab.directory / "a.vp").path
    (source / "plugin.json").write_text(
        json.dumps({"name": "a", "entry": "a", "config_schema": {"$ref": "http://127.0.0.1:1/x"}})
    )
    with pytest.raises(ManifestError, match="nothing is fetched"):
        pack(source, file)
    async with lab.manager() as runtime:
        with pytest.raises(InstallError, match=r"config_schema.\$ref: .* nothing is fetched"):
            await runtime.install_from_url(str(unchecked(source, lab)))


async def test_a_hostile_schema_does_not_stop_the_loop(lab: Lab) -> None:
    schema = {"properties": {"a": {"pattern": "(x+x+)+y"}}}
    lab.plugin("a", ECHO, config_schema=schema, config={"a": "x" * 5000})
    async with lab.manager() as runtime:
        await runtime.discover_plugins()
        start = asyncio.create_task(runtime.start_plugin("a"))
        loop, longest = asyncio.get_running_loop(), 0.0
        while not start.done():
            before = loop.time()
            await asyncio.sleep(0.01)
            longest = max(longest, loop.time() - before)
        with pytest.raises(PluginStartError, match="takes longer than 1 s"):
            await start
        assert longest < 0.5


def package(lab: Lab, version: str, schema: Mapping[str, Any]) -> Path:
    source = lab.source(
        "a", ECHO, below=f"sources/{version}", entry="a", version=version, config_schema=schema
    )
    return pack(source, lab.directory / f"a-{version}.vp").path


def unchecked(source: Path, lab: Lab) -> Path:
    """Pack a directory as other tools do, without a look at it."""
    file = lab.directory / "unchecked.vp"
    with tarfile.open(file, "w:gz") as archive:
        archive.add(source, ".")
    return file
