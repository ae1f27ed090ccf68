"""One index: over the network and from the disk, good, bad, old and unsigned."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.support.download_kit import Server, answer
from tests.support.index_kit import LIMITS, made, put, read, sign, trusted

from vconnect.errors import InstallError, VerificationError
from vconnect.index.document import MAX_INDEX_BYTES
from vconnect.index.fetch import IndexReader, Opened
from vconnect.settings.live import LiveSettings
from vconnect.settings.model import Settings, SourceOptions
from vconnect.trust.keyring import Keyring
from vconnect.trust.minisign import SecretKey
from vconnect.trust.signing import generate

pytest.importorskip("cryptography")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    put(tmp_path / "site", "1")
    made(tmp_path / "site")
    return tmp_path / "site"


def reader(directory: Path, **settings: Any) -> IndexReader:
    live = LiveSettings(Settings(state_dir=str(directory / "state"), **settings))
    return IndexReader(live, LIMITS)


async def opened(directory: Path, place: object, **settings: Any) -> Opened:
    made = reader(directory, **settings)
    return await made.read(made.parse(str(place)))


async def test_it_is_named_by_its_directory_or_its_file(tmp_path: Path, site: Path) -> None:
    for place in (site, f"{site}/", site / "index.json", f"file://{site}"):
        found = await opened(tmp_path, place)
        assert (found.content.serial, found.notes) == (1, ())
        assert found.source.place == str(site / "index.json")


@pytest.mark.parametrize(
    ("place", "address"),
    [
        ("https://h", "https://h/index.json"),
        ("https://h/a/", "https://h/a/index.json"),
        ("https://h/a?token=1", "https://h/a/index.json?token=1"),
        ("https://h/my.json?token=1", "https://h/my.json?token=1"),
    ],
)
def test_the_address_of_an_index(tmp_path: Path, place: str, address: str) -> None:
    source = reader(tmp_path).parse(place)
    assert source.text == address
    assert "token" not in source.shown + source.place


def test_places_where_no_index_can_be(tmp_path: Path) -> None:
    for place in ("ftp://h/", "http://example.com/"):
        with pytest.raises(InstallError):
            reader(tmp_path).parse(place)


async def test_it_is_downloaded_and_nothing_of_it_is_left(
    tmp_path: Path, site: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    server.answers = [answer(body=(site / "index.json").read_bytes())]
    found = await opened(tmp_path, f"{server.base}/x/")
    assert found.content.find("example") == "example"
    assert server.paths() == ["/x/index.json"]
    assert list((tmp_path / "tmp").iterdir()) == []


async def test_what_is_the_same_is_not_sent_again(
    tmp_path: Path, site: Path, server: Server
) -> None:
    first = answer(body=(site / "index.json").read_bytes(), ETag='"1"')
    unchanged = answer("304 Not Modified", b"", ETag='"1"')
    server.answers = [first, unchanged, unchanged]
    for _ in range(3):
        assert (await opened(tmp_path, server.base)).content == read(site)
    asked = ["if-none-match" in one.lower() for one in server.requests]
    assert asked == [False, True, True]
    put(site, "2")
    made(site)
    server.answers = [answer(body=(site / "index.json").read_bytes(), ETag='"2"'), unchanged]
    assert [(await opened(tmp_path, server.base)).content.serial for _ in range(2)] == [2, 2]
    assert 'If-None-Match: "2"' in server.requests[-1]
    # A copy that was changed here is worth nothing, and a server that only says so is no index.
    (copy,) = (tmp_path / "state" / "indexes").glob("*.copy")
    copy.write_bytes(b"{}")
    with pytest.raises(InstallError, match="status 304"):
        await opened(tmp_path, server.base)


BAD = {
    "html": (answer(body=b"<!DOCTYPE html>"), "is not a valid index"),
    "cut": (answer(body=b'{"serial": 1, "plug'), "is not a valid index"),
    "deep": (answer(body=b"[" * 1_000_000), "is not a valid index"),
    "gone": (answer("404 Not Found", b""), "status 404; check the address"),
    "broken": (answer("503 Unavailable", b""), r"status 503 \(2 attempts\)"),
    "large": (
        answer("200 OK", b"", **{"Content-Length": MAX_INDEX_BYTES + 1}),
        f"the limit is {MAX_INDEX_BYTES}",
    ),
    "short": (
        answer("200 OK", b"", **{"Content-Length": 10}),
        "ended before its announced length",
    ),
}


@pytest.mark.parametrize("case", BAD)
async def test_an_answer_that_is_no_index(tmp_path: Path, server: Server, case: str) -> None:
    server.answers = [BAD[case][0]]
    with pytest.raises(InstallError, match=BAD[case][1]) as caught:
        await opened(tmp_path, f"{server.base}/?token=SECRET")
    assert f"{server.base}/index.json: " in str(caught.value)
    assert "SECRET" not in str(caught.value)
    assert not (tmp_path / "state").exists()


async def test_a_server_that_says_nothing(tmp_path: Path) -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(hang, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        with pytest.raises(InstallError, match="the server stalled"):
            await opened(tmp_path, f"http://127.0.0.1:{port}/")


async def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InstallError, match="no such file"):
        await opened(tmp_path, tmp_path)


async def test_an_older_copy_is_refused(tmp_path: Path, site: Path) -> None:
    old = (site / "index.json").read_bytes()
    put(site, "2")
    made(site)
    await opened(tmp_path, site)
    (site / "index.json").write_bytes(old)
    with pytest.raises(VerificationError, match="its serial is 1, and 2 was seen before"):
        await opened(tmp_path, site)


async def test_one_that_has_expired(tmp_path: Path, site: Path, key: SecretKey) -> None:
    made(site, expires=datetime(2026, 1, 1, tzinfo=UTC))
    found = await opened(tmp_path, site)
    words = f"{site}/index.json has expired on 2026-01-01, and may be an old copy"
    assert found.notes == (words,)
    sign(site / "index.json", key)
    with pytest.raises(VerificationError, match="has expired on 2026-01-01"):
        await opened(tmp_path, site, **strict(tmp_path, site, key))


def strict(directory: Path, site: Path, *keys: SecretKey, **fields: Any) -> dict[str, Any]:
    """Settings that want signatures of what is at the site."""
    trust_file = directory / "vconnect.trust"
    for one in keys:
        Keyring(trust_file).add(trusted(one, **fields))
    options = SourceOptions(index=True, require_signature=True)
    return {"trust_file": str(trust_file), "sources": {str(site): options}}


async def test_a_signature_that_is_wanted_must_verify(
    tmp_path: Path, site: Path, key: SecretKey
) -> None:
    settings = strict(tmp_path, site, key)
    with pytest.raises(VerificationError, match="no signature"):
        await opened(tmp_path, site, **settings)
    sign(site / "index.json", generate())
    with pytest.raises(VerificationError, match="whom nobody trusts here"):
        await opened(tmp_path, site, **settings)
    sign(site / "index.json", key)
    assert (await opened(tmp_path, site, **settings)).content == read(site)
    (site / "index.json").write_bytes((site / "index.json").read_bytes() + b"\n")
    with pytest.raises(VerificationError, match="the signature is not valid"):
        await opened(tmp_path, site, **settings)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"plugins": ("example",)}, "may sign example, and this is an index"),
        ({"sources": ("https://elsewhere/",)}, "may sign packages from https://elsewhere/"),
    ],
)
async def test_a_key_with_another_scope_signs_no_index(
    tmp_path: Path, site: Path, key: SecretKey, fields: dict, words: str
) -> None:
    sign(site / "index.json", key)
    with pytest.raises(VerificationError, match=words):
        await opened(tmp_path, site, **strict(tmp_path, site, key, **fields))


async def test_what_was_signed_once_is_not_taken_unsigned(
    tmp_path: Path, site: Path, key: SecretKey
) -> None:
    trust_file = tmp_path / "vconnect.trust"
    Keyring(trust_file).add(trusted(key))
    sign(site / "index.json", key)
    await opened(tmp_path, site, trust_file=str(trust_file))
    (site / "index.json.minisig").unlink()
    with pytest.raises(VerificationError, match="was signed by"):
        await opened(tmp_path, site, trust_file=str(trust_file))
