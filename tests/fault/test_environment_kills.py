"""A host that is killed while it makes an environment leaves the old version or the new one."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.integration.test_environments import package
from tests.support.lab import Lab

from vconnect.environments.build import ENVIRONMENT, read_facts
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


async def test_a_cancelled_installation_leaves_nothing(lab: Lab) -> None:
    first, second = package(lab, "one", "1", "1.0"), package(lab, "one", "2", "2.0")
    installer = PluginInstaller(lab.plugins)
    await installer.install_from_url(first)
    for delay in (0.05, 0.3, 0.6):
        task = asyncio.create_task(installer.install_from_url(second))
        await asyncio.sleep(delay)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            assert sorted(one.name[:1] for one in versions(lab)) == ["1"]
        assert list((lab.plugins / ".vconnect" / "staging").iterdir()) == []


def versions(lab: Lab) -> list[Path]:
    return list((lab.plugins / "one" / "versions").iterdir())
