"""Packages that clients send: all or nothing, by their digests, and never too many."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from vconnect.errors import VerificationError
from vconnect.store.blobs import Blobs

MAX = 1000


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def sent(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def keep(blobs: Blobs, data: bytes, max_bytes: int = MAX) -> bool:
    return await blobs.receive(digest_of(data), sent(data), max_bytes)


def kept(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "store" / "blobs"


async def test_what_is_sent_is_kept_by_its_digest(directory: Path) -> None:
    blobs = Blobs(directory)
    digest = digest_of(b"onetwo")
    assert await blobs.receive(digest, sent(b"one", b"", b"two"), MAX)
    assert (directory / digest).read_bytes() == b"onetwo"
    assert directory.stat().st_mode & 0o777 == 0o700
    assert (directory / digest).stat().st_mode & 0o777 == 0o600


async def test_the_same_package_again_is_not_new(directory: Path) -> None:
    blobs = Blobs(directory)
    assert await keep(blobs, b"x")
    assert not await keep(blobs, b"x")
    assert kept(directory) == [digest_of(b"x")]


async def test_another_digest_leaves_nothing(directory: Path) -> None:
    wanted, found = digest_of(b"x"), digest_of(b"y")
    with pytest.raises(VerificationError, match=rf"{found}, and {wanted} was announced; send"):
        await Blobs(directory).receive(wanted, sent(b"y"), MAX)
    assert kept(directory) == []


async def test_an_error_of_the_sender_leaves_nothing(directory: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x"
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError):
        await Blobs(directory).receive(digest_of(b"x"), broken(), MAX)
    assert kept(directory) == []


async def test_a_cancellation_leaves_nothing(directory: Path) -> None:
    begun = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"x"
        begun.set()
        await asyncio.sleep(60)

    task = asyncio.create_task(Blobs(directory).receive(digest_of(b"x"), slow(), MAX))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert kept(directory) == []


async def test_the_oldest_make_room(directory: Path) -> None:
    blobs = Blobs(directory)
    packages = [bytes([number]) * 400 for number in range(4)]
    for age, data in zip((40, 30, 20), packages[:3], strict=True):
        await keep(blobs, data, 10_000)
        then = time.time() - age
        os.utime(directory / digest_of(data), (then, then))
    await keep(blobs, packages[3], 1000)
    assert kept(directory) == sorted(map(digest_of, packages[1:]))


async def test_what_is_older_than_a_day_goes_and_what_is_being_sent_stays(directory: Path) -> None:
    blobs = Blobs(directory)
    await keep(blobs, b"old")
    abandoned, under_way = directory / ".new-abandoned", directory / ".new-under-way"
    under_way.write_bytes(bytes(5000))
    abandoned.write_bytes(b"")
    then = time.time() - 25 * 3600
    for path in (directory / digest_of(b"old"), abandoned):
        os.utime(path, (then, then))
    await keep(blobs, b"new")
    assert kept(directory) == sorted([under_way.name, digest_of(b"new")])


async def test_a_directory_that_cannot_be_made_is_an_error_of_the_disk(directory: Path) -> None:
    directory.parent.write_bytes(b"")
    with pytest.raises(OSError, match=r"Not a directory|File exists"):
        await keep(Blobs(directory), b"x")
