"""What a plugin makes of its own directories: the host goes on, stops, and starts again."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from tests.support.deep import nest
from tests.support.lab import PLUGINS, Lab, until_status
from tests.support.nobody import bound_by_modes
from tests.support.sandboxes import IN_BWRAP, needs_bwrap
from tests.support.serving import Serve

from vconnect.plugins.status import PluginStatus
from vconnect.processes.landlock import supported_version

pytestmark = pytest.mark.both_loops

# Deeper than Python's limit on recursion, and longer than any path can be.
DEEP = """
os.chdir(os.environ["TMPDIR"])
for _ in range(3000):
    os.mkdir("d")
    os.chdir("d")
open("file", "w").close()
"""
SANDBOXES = [
    pytest.param({}, id="off"),
    pytest.param(
        {"sandbox": "landlock", "sandbox_read": [str(PLUGINS)]},
        id="landlock",
        marks=pytest.mark.skipif(supported_version() < 1, reason="this kernel has no Landlock"),
    ),
    pytest.param(IN_BWRAP, id="bwrap", marks=needs_bwrap),
]


@pytest.mark.parametrize("sandbox", SANDBOXES)
async def test_directories_in_directories_go_with_the_plugin(
    lab: Lab, sandbox: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    lab.plugin("deep", f"connection = Connection(); connection.greet()\n{DEEP}")
    for _ in range(2):  # the second host is the next one
        async with lab.manager(restart="never", options={"deep": sandbox}) as runtime:
            await runtime.start_all()
            await until_status(runtime, "deep", PluginStatus.STOPPED)
    assert list((lab.state / "run").iterdir()) == []
    assert "internal error" not in caplog.text


async def test_what_a_killed_host_left_is_removed_too(lab: Lab) -> None:
    lab.plugin("echo", "serve()")
    async with lab.manager() as runtime:
        await runtime.start_all()
        (run,) = (lab.state / "run").iterdir()
    # As it is left by a host that is gone.
    left = run.with_name("1.1-0123456789abcdef")
    left.mkdir(parents=True)
    await asyncio.to_thread(nest, left, 2000)
    async with lab.manager():
        assert not left.exists()


async def test_a_link_in_place_of_a_directory_is_not_followed(lab: Lab) -> None:
    outside = lab.directory / "outside"
    (outside / "inner").mkdir(parents=True)
    (outside / "file").write_text("x")
    for path in (outside, outside / "inner"):
        path.chmod(0o755)
    code = f"""
    connection = Connection(); connection.greet()
    os.rmdir(os.environ["TMPDIR"])
    os.symlink({str(outside)!r}, os.environ["TMPDIR"])
    """
    lab.plugin("linker", code)
    async with lab.manager(restart="never") as runtime:
        await runtime.start_all()
        await until_status(runtime, "linker", PluginStatus.STOPPED)
    assert (outside / "file").read_text() == "x"
    assert [path.stat().st_mode & 0o777 for path in (outside, outside / "inner")] == [0o755] * 2


@pytest.mark.parametrize("kind", ["pipe", "pattern"])
async def test_a_source_with_a_hostile_ignore_file_stops_nobody(lab: Lab, kind: str) -> None:
    make = {
        "pipe": 'os.mkfifo(".gitignore")',
        "pattern": 'open(".gitignore", "w").write("*a" * 14 + "*b.py\\\\n"); '
        'open("a" * 120 + ".py", "w").close()',
    }
    command = {"command": ["./dev"]}
    source = lab.source("dev", f"{make[kind]}\nserve()", below="sources", dev=command)
    lab.plugin("echo", "serve()")
    async with lab.manager(dev_plugins=(f"dev:{source}",), watch=True) as runtime:
        await runtime.start_all()
        async with asyncio.timeout(20):
            for _ in range(20):
                assert await runtime.request("echo", "e", {}) is not None
                await asyncio.sleep(0.05)
    assert (source / ".gitignore").exists()


def test_a_directory_that_nobody_may_read_is_the_fault_of_one_plugin(lab: Lab) -> None:
    lab.plugin("echo", "serve()")
    shut = lab.plugin("shut", "serve()")
    shut.chmod(0)
    try:
        with Serve(lab, before=bound_by_modes()) as host:
            host.wait_until("echo", "Running")
            cause = rf"{shut}/versions cannot be read: .*chmod -R u\+rX {shut}"
            for command, code in (("why", 1), ("restart", 1), ("verify", 8)):
                done = host.ask(command, "shut")
                assert done.returncode == code
                assert re.search(cause, done.stdout + done.stderr), (command, done)
            assert host.ask("rescan").returncode == 0
            assert host.ask("install", str(lab.directory / "none.vp")).returncode == 1
            shut.chmod(0o755)
            assert host.ask("start", "shut").returncode == 0
        assert "internal error" not in host.log.read_text()
    finally:
        shut.chmod(0o755)
