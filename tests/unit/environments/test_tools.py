"""Programs with limits."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest
from tests.support.wire_kit import until

from vconnect.environments.tools import run_tool
from vconnect.errors import InstallError

pytestmark = pytest.mark.both_loops

PATH = {"PATH": os.defpath}


async def shell(text: str, directory: Path, **more: float) -> str:
    return await run_tool("trying", ["/bin/sh", "-c", text], PATH, directory, **more)


async def test_what_it_prints(tmp_path: Path) -> None:
    assert await shell("echo out; echo err >&2; pwd", tmp_path) == f"out\nerr\n{tmp_path}\n"


async def test_why_it_fails(tmp_path: Path) -> None:
    with pytest.raises(InstallError, match=r"^trying: no such thing really$"):
        await shell("echo no such thing; echo '  really'; exit 3", tmp_path)
    with pytest.raises(InstallError, match=r"^trying: exit code 3$"):
        await shell("exit 3", tmp_path)
    with pytest.raises(InstallError, match="cannot be started: No such file"):
        await run_tool("trying", [str(tmp_path / "no-such-program")], PATH, tmp_path)


async def test_of_much_the_end_is_told(tmp_path: Path) -> None:
    with pytest.raises(InstallError) as caught:
        await shell("yes | head -c 5000000; echo the end; exit 1", tmp_path)
    assert str(caught.value).endswith("the end")
    assert len(str(caught.value)) < 5000


async def test_it_ends_in_time_with_what_it_has_started(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(InstallError, match=r"took more than 0\.2 s"):
        await shell("sleep 60 & echo $! > child; wait", tmp_path, timeout=0.2)
    assert time.monotonic() - began < 30
    await gone(tmp_path)


async def test_it_ends_with_its_caller(tmp_path: Path) -> None:
    task = asyncio.create_task(shell("sleep 60 & echo $! > child; wait", tmp_path))
    await until(lambda: (tmp_path / "child").exists() and (tmp_path / "child").read_text())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await gone(tmp_path)


async def gone(directory: Path) -> None:
    await until(lambda: (directory / "child").read_text().strip())
    child = int((directory / "child").read_text())
    await until(lambda: not Path(f"/proc/{child}/exe").exists() or _is_dead(child))


def _is_dead(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
