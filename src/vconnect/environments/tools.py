"""Runs a program with limits, and says in its own words why it failed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from vconnect.errors import InstallError

TIMEOUT_S = 600.0
# What is kept of its words.
_MAX_WORDS = 4000
_CHUNK = 64 * 1024
# A large distribution has files of some hundred megabytes.
_MAX_FILE_BYTES = 4 << 30


async def run_tool(
    what: str,
    argv: Sequence[str],
    environment: Mapping[str, str],
    directory: Path,
    timeout: float = TIMEOUT_S,
) -> str:
    """Run a program to its end, and return what it has printed.

    If the caller is cancelled, the program and what it has started are killed.

    Args:
        what: What it does, for messages.
        argv: The command.
        environment: Its whole environment.
        directory: Its working directory.
        timeout: How many seconds it may take.

    Raises:
        InstallError: It cannot be started, fails, or takes too long; the text has its last words.
    """
    start = asyncio.ensure_future(_start(argv, environment, directory))
    try:
        process = await asyncio.shield(start)
    except OSError as error:
        raise InstallError(f"{what}: {argv[0]} cannot be started: {error.strerror}") from None
    except asyncio.CancelledError:
        # It is being started, and would be left to itself.
        with suppress(OSError):
            await _end(await start)
        raise
    _limit(process.pid)
    try:
        async with asyncio.timeout(timeout):
            printed = await _all_of(process.stdout)
            code = await process.wait()
    except TimeoutError:
        raise InstallError(f"{what}: took more than {timeout:g} s") from None
    finally:
        await _end(process)
    if code:
        raise InstallError(f"{what}: {_words(printed) or f'exit code {code}'}")
    return printed


async def _start(
    argv: Sequence[str], environment: Mapping[str, str], directory: Path
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=dict(environment),
        cwd=directory,
        start_new_session=True,
    )


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill a program and what it has started, if it still runs."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def _all_of(stream: asyncio.StreamReader | None) -> str:
    """Read what a program prints; of too much, keep the end."""
    assert stream is not None, "it is a pipe"
    kept = b""
    while chunk := await stream.read(_CHUNK):
        kept = (kept + chunk)[-16 * _CHUNK :]
    return kept.decode("utf-8", "replace")


def _limit(pid: int) -> None:
    """Bound what a file may grow to: what is unpacked comes from others."""
    if sys.platform == "linux":
        import resource

        with suppress(OSError):  # it has ended already
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (_MAX_FILE_BYTES, _MAX_FILE_BYTES))


def _words(printed: str) -> str:
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    return " ".join(lines)[-_MAX_WORDS:]
