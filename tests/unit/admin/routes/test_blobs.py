"""The route for packages that clients send, over a real server on a real Unix socket."""

from __future__ import annotations

import asyncio
import errno
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.fake_manager import FakeManager
from tests.support.web import Web, asking

from vconnect.admin.routes import blobs
from vconnect.settings.model import Settings

BYTES = {"Content-Type": "application/octet-stream"}
BODY = b"a package"
DIGEST = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def manager(tmp_path: Path) -> FakeManager:
    return FakeManager(settings=Settings(plugin_dir=str(tmp_path), max_package_bytes=1000))


def kept(manager: FakeManager) -> list[str]:
    directory = Path(manager.settings.plugin_dir) / "blobs"
    return [path.name for path in directory.iterdir()] if directory.exists() else []


async def send(web: Web, body: Any = BODY, digest: str = DIGEST, status: int = 201) -> Any:
    path = f"/api/blobs/{digest}"
    if status < 400:
        return await web("PUT", path, status=status, data=body, headers=BYTES)
    return await web.problem("PUT", path, status, data=body, headers=BYTES)


async def in_parts(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def test_a_package_is_kept_and_its_source_is_told(manager: FakeManager) -> None:
    async with asking(manager) as web:
        assert await send(web, in_parts(b"a ", b"package")) == {"source": f"sha256:{DIGEST}"}
        assert await send(web, digest=DIGEST.upper(), status=200) == {"source": f"sha256:{DIGEST}"}
        records = (await web("GET", "/api/audit"))["items"]
    assert kept(manager) == [DIGEST]
    assert [(one["order"], one["result"]) for one in records] == [("send", "ok")] * 2


async def test_a_key_of_a_client_that_repeats_itself_does_not_matter(manager: FakeManager) -> None:
    headers = {**BYTES, "Idempotency-Key": "k", "Prefer": "respond-async"}
    async with asking(manager) as web:
        for status in (201, 200):
            await web("PUT", f"/api/blobs/{DIGEST}", status=status, data=BODY, headers=headers)


async def test_another_digest_is_refused(manager: FakeManager) -> None:
    async with asking(manager) as web:
        problem = await send(web, b"another package", status=422)
    assert problem["code"] == "not_verified"
    assert problem["next"] == "send the package to the address of its own sha256"
    assert kept(manager) == []


@pytest.mark.parametrize("is_announced", [True, False])
async def test_a_package_above_the_limit_is_refused(
    manager: FakeManager, is_announced: bool
) -> None:
    body = bytes(1001) if is_announced else in_parts(bytes(1000), b".")
    async with asking(manager) as web:
        problem = await send(web, body, status=413)
    assert problem["code"] == "too_large"
    assert problem["detail"] == "the body is larger than 1000 bytes"
    assert kept(manager) == []


async def test_a_package_may_be_larger_than_any_other_body(tmp_path: Path) -> None:
    settings = Settings(plugin_dir=str(tmp_path), max_frame_bytes=1 << 16)
    body = bytes(1 << 18)
    async with asking(FakeManager(settings=settings)) as web:
        await send(web, body, hashlib.sha256(body).hexdigest())


@pytest.mark.parametrize("digest", ["x", DIGEST[:-1], f"{DIGEST}0", "%2E%2E", f"{DIGEST[:-1]}g"])
async def test_what_is_no_digest_is_named(manager: FakeManager, digest: str) -> None:
    async with asking(manager) as web:
        problem = await send(web, digest=digest, status=400)
    assert problem["errors"] == [
        {"field": "sha256", "detail": "expected 64 hex digits, as of sha256sum"}
    ]
    assert kept(manager) == []


async def test_another_content_type_is_refused_with_the_right_one(manager: FakeManager) -> None:
    async with asking(manager) as web:
        path = f"/api/blobs/{DIGEST}"
        for kind in ("application/json", "multipart/form-data", "text/plain"):
            headers = {"Content-Type": kind}
            problem = await web.problem("PUT", path, 415, data=BODY, headers=headers)
            assert problem["next"] == "send Content-Type: application/octet-stream"
    assert kept(manager) == []


async def test_more_than_four_at_once_wait_for_later(
    manager: FakeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blobs, "_MAX_AT_ONCE", 1)
    begun, end = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"a "
        begun.set()
        await end.wait()
        yield b"package"

    async with asking(manager) as web:
        first = asyncio.create_task(send(web, slow()))
        await begun.wait()
        while not kept(manager):
            await asyncio.sleep(0.01)
        assert (await send(web, status=503))["code"] == "overloaded"
        end.set()
        await first
        await send(web, status=200)


async def test_a_client_that_never_ends_is_given_up(
    manager: FakeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blobs, "_TOTAL_S", 0.1)
    monkeypatch.setattr("vconnect.admin.servers.face._REST_S", 0.1)

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"."
            await asyncio.sleep(0.02)

    async with asking(manager) as web:
        problem = await send(web, endless(), status=408)
    assert (problem["code"], kept(manager)) == ("too_slow", [])


@pytest.mark.parametrize(
    ("number", "status", "code"),
    [(errno.ENOSPC, 507, "no_space"), (errno.EROFS, 409, "install_error")],
)
async def test_what_the_disk_refuses_is_told(
    manager: FakeManager, monkeypatch: pytest.MonkeyPatch, number: int, status: int, code: str
) -> None:
    async def fail(*_: Any) -> bool:
        raise OSError(number, "the disk says no")

    monkeypatch.setattr(manager.blobs, "receive", fail)
    async with asking(manager) as web:
        problem = await send(web, status=status)
    assert (problem["code"], problem["detail"]) == (code, "it cannot be kept: the disk says no")
    assert problem["next"]
