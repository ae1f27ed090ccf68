"""A host that is killed while it makes an environment leaves the old version or the new one."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from tests.integration.test_environments import package
from tests.support.disks import small_disk
from tests.support.lab import Lab

from vconnect.environments.build import ENVIRONMENT, read_facts
from vconnect.errors import InstallError
from vconnect.store.installer import PluginInstaller
from vconnect.store.verify import verify

INSTALL = """
import asyncio, sys
from pathlib import Path
from vconnect.store.installer import PluginInstaller
asyncio.run(PluginInstaller(Path(sys.argv[1])).install_from_url(sys.argv[2]))
"""
# From before anything is written to after all of it, whatever the machine is.
MOMENTS = 12


def begin(lab: Lab, source: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", INSTALL, str(lab.plugins), source]
    return subprocess.Popen(command, start_new_session=True)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_killed_at_any_moment(lab: Lab) -> None:
    first, second = package(lab, "one", "1", "1.0"), package(lab, "one", "2", "2.0")
    began = time.monotonic()
    assert begin(lab, first).wait(60) == 0
    took = time.monotonic() - began
    interrupted = 0
    for moment in range(MOMENTS):
        process = begin(lab, second)
        time.sleep(took * (moment + 1) / MOMENTS)
        os.killpg(process.pid, signal.SIGKILL)
        interrupted += process.wait() != 0
        check(lab)
        if (lab.plugins / "one" / "store.json").read_text().count('"next": "2'):
            break  # it was too late: all of it is there
    assert interrupted >= MOMENTS // 3, "it was killed while it worked"
    assert begin(lab, second).wait(60) == 0
    check(lab)
    plugin = PluginInstaller(lab.plugins).discover()[0]
    assert plugin.next is not None
    assert read_facts(plugin.next.directory / ENVIRONMENT) is not None
    assert list((lab.plugins / ".vconnect" / "staging").iterdir()) == []


def check(lab: Lab) -> None:
    (plugin,) = PluginInstaller(lab.plugins).discover()
    assert plugin.problem == ""
    assert plugin.current is not None
    assert plugin.current.version == "1"
    for version in (plugin.current, plugin.next):
        if version is not None:
            assert read_facts(version.directory / ENVIRONMENT) is not None
    assert all(one.is_sound for one in verify("one", plugin.home))


async def test_a_cancelled_installation_leaves_all_or_nothing(lab: Lab) -> None:
    first, second = package(lab, "one", "1", "1.0"), package(lab, "one", "2", "2.0")
    installer = PluginInstaller(lab.plugins)
    await installer.install_from_url(first)
    for delay in (0.05, 0.2, 0.4, 0.8):
        task = asyncio.create_task(installer.install_from_url(second))
        await asyncio.wait([task], timeout=delay)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        check(lab)
        assert list((lab.plugins / ".vconnect" / "staging").iterdir()) == []


async def refusal(installer: PluginInstaller, source: str) -> str:
    try:
        await installer.install_from_url(source)
    except InstallError as error:
        return str(error)
    return ""


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_a_full_disk_of_every_size(lab: Lab, tmp_path: Path) -> None:
    packages = [package(lab, "one", version, f"{version}.0") for version in ("1", "2")]
    ends = []
    for size_mb in (1, 3, 5, 7, 9, 12, 20):
        place = tmp_path / f"disk-{size_mb}"
        with small_disk(place, f"{size_mb}m"):
            installer = PluginInstaller(place / "plugins")
            done = 0
            for source in packages:
                words = await refusal(installer, source)
                if words:
                    assert "No space left" in words or "os error 28" in words
                    break
                done += 1
            ends.append(done)
            staging = place / "plugins" / ".vconnect" / "staging"
            assert list(staging.iterdir()) == []
            for plugin in installer.discover():
                assert all(one.is_sound for one in verify("one", plugin.home))
                assert plugin.current is not None
                assert plugin.current.version == "1"
                assert (plugin.next is not None) == (done == 2)
            shutil.rmtree(place / "plugins", ignore_errors=True)
    assert ends[0] == 0
    assert ends[-1] == 2
    assert ends == sorted(ends)
