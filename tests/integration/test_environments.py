"""Plugins with dependencies: packages, upgrades and sources, with real environments."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.lab import Lab, until
from tests.support.wheel_kit import add_dependencies, make_wheel

from vconnect import PluginRuntimeManager
from vconnect.environments.build import ENVIRONMENT
from vconnect.environments.installs import find_uv
from vconnect.environments.locked import WHEELS
from vconnect.packages.pack import pack
from vconnect.removal import remove_tree

CODE = """#!/usr/bin/env python3
import os, sys
import lib
from vconnect import Plugin, on, run_plugin
class Made(Plugin):
    plugin_no = os.environ["VCONNECT_PLUGIN_NAME"]
    @on("facts")
    def facts(self, ctx):
        ctx.reply({"lib": lib.VERSION, "prefix": sys.prefix, "pid": os.getpid()})
    @on("number")
    def number(self, ctx):
        ctx.reply(ctx.payload)
run_plugin(Made)
"""
# Without the kit: the dialect of the original's plugins.
CLASSIC = """#!/usr/bin/env python3
import json, os, socket, struct, sys
import lib
host = socket.socket(socket.AF_UNIX)
host.connect(sys.argv[sys.argv.index("--socket") + 1])
def send(message):
    data = json.dumps(message).encode()
    host.sendall(struct.pack(">I", len(data)) + data)
def receive():
    (length,) = struct.unpack(">I", host.recv(4, socket.MSG_WAITALL) or sys.exit(0))
    return json.loads(host.recv(length, socket.MSG_WAITALL))
name = os.environ["VCONNECT_PLUGIN_NAME"]
send({"plugin_no": name, "version": lib.VERSION, "capabilities": ["number"], "priority": 0})
receive()
while True:
    event = receive()
    send({"status": "ok", "data": lib.VERSION})
"""


def source(lab: Lab, name: str, version: str, lib: str, code: str = CODE) -> Path:
    directory = lab.directory / f"source-{version}" / name
    directory.mkdir(parents=True)
    manifest = {"name": name, "version": version, "capabilities": ["facts", "number"]}
    (directory / "plugin.json").write_text(json.dumps(manifest))
    (directory / name).write_text(code)
    (directory / name).chmod(0o755)
    add_dependencies(directory, lib)
    return directory


def package(lab: Lab, name: str, version: str, lib: str, code: str = CODE) -> str:
    made = source(lab, name, version, lib, code)
    return str(pack(made, lab.directory / f"{name}-{version}.vp").path)


@pytest.fixture
async def runtime(lab: Lab) -> AsyncIterator[PluginRuntimeManager]:
    async with lab.manager() as manager:
        await manager.start_all()
        yield manager


async def facts(runtime: PluginRuntimeManager, name: str = "one") -> Any:
    return await runtime.request(name, "facts", {})


def environments(lab: Lab) -> list[str]:
    found = lab.plugins.glob(f"*/versions/*/{ENVIRONMENT}")
    return sorted(str(one.relative_to(lab.plugins)).partition("+")[0] for one in found)


async def test_two_plugins_have_two_versions_of_one_library(lab: Lab, runtime) -> None:
    await runtime.packages.install(
        [package(lab, "one", "1", "1.0"), package(lab, "two", "1", "2.0")]
    )
    one, two = await facts(runtime, "one"), await facts(runtime, "two")
    assert (one["lib"], two["lib"]) == ("1.0", "2.0")
    assert one["prefix"].endswith(f"/{ENVIRONMENT}")
    assert one["prefix"] != two["prefix"] != sys.prefix


async def test_each_version_keeps_its_own_environment(lab: Lab, runtime) -> None:
    await runtime.packages.install([package(lab, "one", "1", "1.0")])
    (made,) = await runtime.packages.install([package(lab, "one", "2", "2.0")], upgrade=True)
    assert made.result == "switched"
    assert (await facts(runtime))["lib"] == "2.0"
    assert environments(lab) == ["one/versions/1", "one/versions/2"]
    assert (await runtime.packages.rollback("one")).result == "switched"
    assert (await facts(runtime))["lib"] == "1.0"
    assert all(one.is_sound for one in await runtime.packages.verify())
    await runtime.packages.uninstall(["one"])
    assert environments(lab) == []
    assert not (lab.plugins / "one").exists()


async def test_what_does_not_resolve_leaves_the_old_version_serving(lab: Lab, runtime) -> None:
    await runtime.packages.install([package(lab, "one", "1", "1.0")])
    directory = source(lab, "one", "2", "2.0")
    next((directory / WHEELS).iterdir()).unlink()
    broken = str(pack(directory, lab.directory / "broken.vp").path)
    (made,) = await runtime.packages.install([broken], upgrade=True)
    assert (made.result, made.code) == ("failed", "install_error")
    assert "one 2: installing the dependencies:" in made.reason
    assert "lib" in made.reason
    assert (await facts(runtime))["lib"] == "1.0"
    assert environments(lab) == ["one/versions/1"]
    assert list((lab.plugins / ".vconnect" / "staging").iterdir()) == []


async def test_an_environment_that_is_lost_is_made_anew(lab: Lab, runtime) -> None:
    first = package(lab, "one", "1", "1.0")
    await runtime.packages.install([first])
    (environment,) = lab.plugins.glob(f"one/versions/*/{ENVIRONMENT}")
    remove_tree(environment)
    (found,) = await runtime.packages.verify()
    assert (found.verdict, found.reason) == ("changed", "its environment is missing")
    await runtime.restart_plugin("one")
    assert (await facts(runtime))["prefix"] == str(environment)
    assert (await runtime.packages.verify())[0].is_sound


async def test_an_environment_that_was_changed_is_told_and_repaired(lab: Lab, runtime) -> None:
    first = package(lab, "one", "1", "1.0")
    await runtime.packages.install([first])
    (module,) = lab.plugins.glob(f"one/versions/*/{ENVIRONMENT}/lib/*/site-packages/lib.py")
    module.chmod(0o644)
    module.write_text("VERSION = 'evil'\n")
    (found,) = await runtime.packages.verify()
    assert (found.verdict, found.reason) == ("changed", "its environment is not as it was made")
    (made,) = await runtime.packages.install([first])
    assert made.result == "repaired"
    assert (await facts(runtime))["lib"] == "1.0"
    assert (await runtime.packages.verify())[0].is_sound


@pytest.mark.skipif(not find_uv(), reason="uv is not there")
async def test_equal_wheels_are_the_same_files_in_two_environments(lab: Lab, runtime) -> None:
    both = [package(lab, "one", "1", "1.0"), package(lab, "two", "1", "1.0")]
    await runtime.packages.install(both)
    modules = lab.plugins.glob(f"*/versions/*/{ENVIRONMENT}/lib/*/site-packages/lib.py")
    one, two = modules
    assert one.samefile(two)


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
@pytest.mark.parametrize("sandbox", ["landlock", "bwrap"])
async def test_in_a_sandbox_too(lab: Lab, sandbox: str) -> None:
    if sandbox == "bwrap" and shutil.which("bwrap") is None:
        pytest.skip("bwrap is not there")
    async with lab.manager(sandbox=sandbox) as runtime:
        await runtime.start_all()
        (made,) = await runtime.packages.install([package(lab, "one", "1", "1.0")])
        assert made.result == "installed", made.reason
        assert (await facts(runtime))["lib"] == "1.0"


@pytest.mark.slow
@pytest.mark.parametrize("code", [CODE, CLASSIC], ids=["native", "classic"])
async def test_an_upgrade_under_load_loses_nothing(lab: Lab, runtime, code: str) -> None:
    await runtime.packages.install([package(lab, "one", "1", "1.0", code)])
    ends: list[Any] = []
    done = asyncio.Event()

    async def ask(number: int) -> None:
        ends.append(await runtime.request("one", "number", number))

    async def load() -> list[asyncio.Task[None]]:
        asked: list[asyncio.Task[None]] = []
        began = time.monotonic()
        while not done.is_set():
            while len(asked) < (time.monotonic() - began) * 1000:
                asked.append(asyncio.create_task(ask(len(asked))))
            await asyncio.sleep(0.002)
        return asked

    loading = asyncio.create_task(load())
    (made,) = await runtime.packages.install([package(lab, "one", "2", "2.0", code)], upgrade=True)
    assert made.result == "switched", made.reason
    done.set()
    asked = await loading
    await asyncio.gather(*asked)
    assert len(ends) == len(asked) > 100
    if code == CODE:
        assert sorted(ends) == list(range(len(asked)))
    else:
        assert set(ends) == {"1.0", "2.0"}


# --- from source -------------------------------------------------------------------------------


async def test_a_plugin_from_source_follows_its_dependencies(lab: Lab) -> None:
    directory = lab.directory / "dev"
    directory.mkdir()
    (directory / "plugin.py").write_text(CODE)
    (directory / "requirements.txt").write_text("lib\n")
    make_wheel(directory / WHEELS, "lib", "1.0")
    async with lab.manager(dev_plugins=[f"one:{directory}"], watch=False) as runtime:
        await runtime.start_all()
        before = await facts(runtime)
        assert before["lib"] == "1.0"
        (directory / "requirements.txt").write_text("lib>=2\n")
        with pytest.raises(Exception, match="resolving the dependencies"):
            await runtime.restart_plugin("one")
        assert (await facts(runtime))["pid"] == before["pid"], "the old process serves on"
        make_wheel(directory / WHEELS, "lib", "2.0")
        await runtime.restart_plugin("one")
        assert (await facts(runtime))["lib"] == "2.0"


async def test_an_environment_in_the_source_is_used_as_it_is(lab: Lab) -> None:
    directory = lab.directory / "dev"
    directory.mkdir()
    (directory / "plugin.py").write_text(CODE)
    venv = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "venv", "--without-pip", str(directory / ".venv")
    )
    await venv.wait()
    (site,) = (directory / ".venv").glob("lib/python*/site-packages")
    (site / "vconnect-0.1.0.dist-info").mkdir()
    (site / "host.pth").write_text("\n".join(one for one in sys.path if one))
    (site / "lib.py").write_text("VERSION = 'own'\n")
    async with lab.manager(dev_plugins=[f"one:{directory}"]) as runtime:
        await runtime.start_all()
        await until(lambda: runtime.summary("one").status == "Running")
        found = await facts(runtime)
        assert (found["lib"], found["prefix"]) == ("own", str(directory / ".venv"))
