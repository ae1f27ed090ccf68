"""Answers in lines, over a real server on a real Unix socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.fake_manager import FakeManager, served
from tests.support.lab import until

from vconnect.admin.client.client import AdminClient
from vconnect.admin.http import progress
from vconnect.errors import AdminError, ConfigError, HostUnreachableError
from vconnect.packages.progress import Step

BODY = {"sources": ["https://h/a.vp"]}
STEPS = [Step("https://h/a.vp", done, 100, 7.5) for done in (10, 60, 100)]


class Downloading:
    """Packages whose installation takes the steps that a test tells it to."""

    def __init__(self, error: Exception | None = None) -> None:
        self.go = asyncio.Event()
        self.report: Callable[[Step], None] | None = None
        self.is_done = False
        self.error = error

    async def install(self, sources: list[str], **options: Any) -> list[dict[str, str]]:
        self.report = options.get("report")
        await self.go.wait()
        if self.error is not None:
            raise self.error
        self.is_done = True
        return [{"name": "x" * 300_000}]  # more than any buffer has


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_PACE_S", 0.01)


def managed(error: Exception | None = None) -> tuple[FakeManager, Downloading]:
    manager = FakeManager()
    manager.packages = packages = Downloading(error)  # type: ignore[assignment]
    return manager, packages


async def test_steps_come_before_the_result() -> None:
    manager, packages = managed()
    seen: list[Step] = []

    async with served(manager) as path, AdminClient(path) as client:
        asking = asyncio.create_task(client.post("/api/install", BODY, seen.append))
        await until(lambda: packages.report is not None)
        assert packages.report is not None
        for step in STEPS:
            packages.report(step)
            await until(lambda step=step: seen[-1:] == [step])
        assert not asking.done()
        packages.go.set()
        assert await asking == {"changes": [{"name": "x" * 300_000}]}
    assert seen == STEPS


async def test_of_several_steps_at_once_the_last_is_sent() -> None:
    manager, packages = managed()
    seen: list[Step] = []
    async with served(manager) as path, AdminClient(path) as client:
        asking = asyncio.create_task(client.post("/api/install", BODY, seen.append))
        await until(lambda: packages.report is not None)
        assert packages.report is not None
        for step in STEPS:
            packages.report(step)
        await until(lambda: bool(seen))
        packages.go.set()
        await asking
    assert seen == STEPS[-1:]


async def test_without_asking_for_lines_there_are_none() -> None:
    manager, packages = managed()
    packages.go.set()
    async with served(manager) as path, AdminClient(path) as client:
        assert await client.post("/api/install", BODY) == {"changes": [{"name": "x" * 300_000}]}
    assert packages.report is None


async def exchange(path: Path, accept: str) -> tuple[str, list[Any]]:
    """Send a request by hand; returns the head and the lines of the body."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    body = json.dumps(BODY)
    head = [
        *("POST /api/install HTTP/1.0", "Host: localhost", "Content-Type: application/json"),
        *(f"Content-Length: {len(body)}", f"Accept: {accept}"),
    ]
    writer.write("\r\n".join([*head, "", body]).encode())
    answer = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    head_of, _, text = answer.partition("\r\n\r\n")
    return head_of, [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("accept", ["application/jsonl", "text/html, Application/JSONL;q=0.5"])
async def test_lines_on_the_wire(accept: str) -> None:
    manager, packages = managed()
    async with served(manager) as path:
        asking = asyncio.create_task(exchange(path, accept))
        await until(lambda: packages.report is not None)
        assert packages.report is not None
        packages.report(STEPS[0])
        await asyncio.sleep(0.1)
        packages.go.set()
        head, lines = await asking
    assert "Content-Type: application/jsonl" in head
    assert "Cache-Control: no-store" in head
    step = {"source": "https://h/a.vp", "bytes": 10, "total": 100, "rate": 7.5}
    assert lines[:-1] == [{"progress": step}]
    assert list(lines[-1]) == ["changes"]


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (ConfigError("the lock file is broken"), "config_error", "the lock file is broken"),
        (ValueError("secret"), "internal", "internal error "),
    ],
)
async def test_an_error_is_the_last_line(error: Exception, code: str, words: str) -> None:
    manager, packages = managed(error)
    packages.go.set()
    async with served(manager) as path, AdminClient(path) as client:
        with pytest.raises(AdminError) as caught:
            await client.post("/api/install", BODY, lambda _: None)
    assert caught.value.code == code
    assert words in str(caught.value)
    assert "secret" not in str(caught.value)


async def test_a_wrong_body_is_refused_before_any_line() -> None:
    manager, _ = managed()
    async with served(manager) as path, AdminClient(path) as client:
        with pytest.raises(AdminError) as caught:
            await client.post("/api/install", {}, lambda _: None)
    assert (caught.value.status, caught.value.code) == (400, "bad_field")


async def test_the_work_goes_on_without_its_client() -> None:
    manager, packages = managed()
    async with served(manager) as path:
        async with AdminClient(path) as client:
            asking = asyncio.create_task(client.post("/api/install", BODY, lambda _: None))
            await until(lambda: packages.report is not None)
            asking.cancel()
            await asyncio.wait([asking])
        assert packages.report is not None
        for step in STEPS:
            packages.report(step)
            await asyncio.sleep(0.03)
        packages.go.set()
        await until(lambda: packages.is_done)


async def test_a_host_that_ends_meanwhile_is_unreachable() -> None:
    manager, packages = managed()
    async with served(manager) as path, AdminClient(path) as client:
        asking = asyncio.create_task(client.post("/api/install", BODY, lambda _: None))
        await until(lambda: packages.report is not None)
        while not asking.done():
            for task in asyncio.all_tasks():
                if "RequestHandler.start" in repr(task.get_coro()):
                    task.cancel()
            await asyncio.sleep(0.01)
        with pytest.raises(HostUnreachableError):
            await asking
    assert not packages.is_done
