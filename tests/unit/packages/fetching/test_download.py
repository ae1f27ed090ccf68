"""One download: attempts and limits, and what servers answer."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support.download_kit import (
    ETAG,
    LIMITS,
    PACKAGE,
    Server,
    answer,
    cut,
    install,
    redirect,
    refusal,
    rest,
)

from vconnect.durable import try_lock
from vconnect.errors import InstallError, VerificationError
from vconnect.packages.fetch import fetch
from vconnect.packages.source import Edition, parse_source
from vconnect.store.installer import PluginInstaller


async def test_a_package_is_installed_and_its_progress_told(server: Server, tmp_path: Path) -> None:
    steps: list[tuple[int, int | None]] = []
    progress = {"progress": lambda *step: steps.append(step)}
    assert await install(server, tmp_path, answer(), **progress) == "example"
    assert steps[-1] == (len(PACKAGE), len(PACKAGE))
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)


async def test_without_a_length_the_total_is_unknown(server: Server, tmp_path: Path) -> None:
    steps: list[tuple[int, int | None]] = []
    unknown = answer(**{"Content-Length": None})
    await install(server, tmp_path, unknown, progress=lambda *step: steps.append(step))
    assert steps[-1] == (len(PACKAGE), None)


# --- what servers answer ---------------------------------------------------------------------


async def test_a_servers_error_is_tried_again(server: Server, tmp_path: Path) -> None:
    failed = answer("503 Service Unavailable", b"")
    assert await install(server, tmp_path, failed, failed, answer()) == "example"
    assert len(server.requests) == 3


async def test_in_the_end_a_servers_error_is_told(server: Server, tmp_path: Path) -> None:
    message = await refusal(server, tmp_path, answer("500 Internal Server Error", b""))
    assert "responded with status 500 (3 attempts)" in message
    assert len(server.requests) == 3


@pytest.mark.parametrize("status", [204, 206, 304, 400, 404, 410, 418])
async def test_other_answers_are_final(server: Server, tmp_path: Path, status: int) -> None:
    message = await refusal(server, tmp_path, answer(f"{status} X", b""))
    assert f"responded with status {status}" in message
    assert ("check the address" in message) is (status in (404, 410))
    assert len(server.requests) == 1


async def test_a_download_that_broke_off_begins_again_from_nothing(
    server: Server, tmp_path: Path
) -> None:
    cut = answer()[:-5]
    assert await install(server, tmp_path, cut, cut, answer()) == "example"


async def test_what_is_too_large_is_refused_by_its_word_and_by_its_bytes(
    server: Server, tmp_path: Path
) -> None:
    large = b"x" * 5000
    options = {"max_package_bytes": 4000}
    message = await refusal(server, tmp_path, answer(body=large), **options)
    assert "has 5000 bytes; the limit is 4000" in message
    unannounced = answer(body=large, **{"Content-Length": None})
    message = await refusal(server, tmp_path, unannounced, **options)
    assert "more than 4000 bytes" in message


@pytest.mark.parametrize("text", [b"no http at all\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n"])
async def test_what_is_no_http_is_final(server: Server, tmp_path: Path, text: bytes) -> None:
    assert "not valid HTTP" in await refusal(server, tmp_path, text)
    assert len(server.requests) == 1


# --- what broke off is continued --------------------------------------------------------------


HALF = len(PACKAGE) // 2
ONCE = msgspec.structs.replace(LIMITS, retries=0)


def ranges(server: Server) -> list[tuple[str, str]]:
    """What part each request asked for, and on which condition."""
    found = []
    for request in server.requests:
        lines = dict(line.split(": ", 1) for line in request.split("\r\n")[1:] if line)
        found.append((lines.get("Range", ""), lines.get("If-Range", "")))
    return found


def parts(directory: Path) -> list[Path]:
    return sorted((directory / "plugins" / ".vconnect" / "partial").iterdir())


def digest(directory: Path) -> str:
    """The digest of what was installed, as its receipt has it."""
    (receipt,) = (directory / "plugins").glob("*/versions/*/install.json")
    return str(msgspec.json.decode(receipt.read_bytes())["sha256"])


async def interrupted(server: Server, directory: Path, *answers: bytes) -> str:
    """Fail to install, and leave a part."""
    server.answers, server.private = list(answers), directory / "plugins" / ".vconnect"
    installer = PluginInstaller(directory / "plugins", fetch_limits=ONCE)
    with pytest.raises(InstallError) as caught:
        await installer.install_from_url(f"{server.base}/a.vp")
    return str(caught.value)


async def test_a_retry_continues_where_it_broke_off(server: Server, tmp_path: Path) -> None:
    steps: list[tuple[int, int | None]] = []
    answers = (cut(HALF), rest(HALF))
    progress = {"progress": lambda *step: steps.append(step)}
    assert await install(server, tmp_path, *answers, **progress) == "example"
    assert ranges(server) == [("", ""), (f"bytes={HALF}-", ETAG)]
    assert digest(tmp_path) == hashlib.sha256(PACKAGE).hexdigest()
    assert steps[-1] == (len(PACKAGE), len(PACKAGE))
    assert all(done >= HALF for done, _ in steps[1:])
    assert parts(tmp_path) == []


async def test_each_retry_continues_after_the_one_before(server: Server, tmp_path: Path) -> None:
    short = cut(HALF + 20, start=HALF)
    assert await install(server, tmp_path, cut(HALF), short, rest(HALF + 20)) == "example"
    assert [asked for asked, _ in ranges(server)] == ["", f"bytes={HALF}-", f"bytes={HALF + 20}-"]
    assert digest(tmp_path) == hashlib.sha256(PACKAGE).hexdigest()


async def test_a_server_may_send_less_than_the_rest_at_once(server: Server, tmp_path: Path) -> None:
    some = {"Content-Range": f"bytes {HALF}-{HALF + 9}/{len(PACKAGE)}", "ETag": ETAG}
    piece = answer("206 Partial Content", PACKAGE[HALF : HALF + 10], **some)
    assert await install(server, tmp_path, cut(HALF), piece, rest(HALF + 10)) == "example"
    assert digest(tmp_path) == hashlib.sha256(PACKAGE).hexdigest()


async def test_the_next_command_continues_too(server: Server, tmp_path: Path) -> None:
    message = await interrupted(server, tmp_path, cut(HALF))
    assert f"{HALF} bytes are kept for a day, and another try continues after them" in message
    name = hashlib.sha256(f"{server.base}/a.vp".encode()).hexdigest()
    assert [path.name for path in parts(tmp_path)] == [name, f"{name}.json"]
    assert {path.stat().st_mode & 0o777 for path in parts(tmp_path)} == {0o600}
    assert parts(tmp_path)[0].read_bytes() == PACKAGE[:HALF]
    assert await install(server, tmp_path, rest(HALF)) == "example"
    assert ranges(server)[-1] == (f"bytes={HALF}-", ETAG)
    assert digest(tmp_path) == hashlib.sha256(PACKAGE).hexdigest()
    assert parts(tmp_path) == []


async def test_a_cancelled_command_is_continued(server: Server, tmp_path: Path) -> None:
    arrived = asyncio.Event()
    installer = PluginInstaller(tmp_path / "plugins", progress=lambda *_: arrived.set())
    half = cut(HALF)
    half.stalls = True
    server.answers = [half]
    task = asyncio.create_task(installer.install_from_url(f"{server.base}/a.vp"))
    await arrived.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert parts(tmp_path)[0].read_bytes() == PACKAGE[:HALF]
    assert await install(server, tmp_path, rest(HALF)) == "example"
    assert digest(tmp_path) == hashlib.sha256(PACKAGE).hexdigest()


async def test_a_server_that_ignores_ranges_begins_anew(server: Server, tmp_path: Path) -> None:
    assert await install(server, tmp_path, cut(HALF), answer(ETag=ETAG)) == "example"
    assert ranges(server)[1] == (f"bytes={HALF}-", ETAG)
    assert digest(tmp_path) == hashlib.sha256(PACKAGE).hexdigest()


async def test_a_file_that_changed_begins_anew_and_is_continued_as_what_it_is(
    server: Server, tmp_path: Path
) -> None:
    # What If-Range asks for: another file is sent from its beginning, here broken off again.
    new: Any = {"ETag": '"v2"'}
    other = cut(HALF + 30, **new)
    assert await install(server, tmp_path, cut(HALF), other, rest(HALF + 30, **new)) == "example"
    assert ranges(server)[2] == (f"bytes={HALF + 30}-", '"v2"')
    assert digest(tmp_path) == hashlib.sha256(PACKAGE).hexdigest()


@pytest.mark.parametrize("etag", ['W/"v1"', None, "v1", '""'])
async def test_without_a_strong_etag_nothing_is_kept(
    server: Server, tmp_path: Path, etag: str | None
) -> None:
    message = await interrupted(server, tmp_path, cut(HALF, ETag=etag))
    assert "kept" not in message
    assert parts(tmp_path) == []
    assert await install(server, tmp_path, cut(HALF, ETag=etag), answer()) == "example"
    assert set(ranges(server)) == {("", "")}


LENGTH = len(PACKAGE)


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"Content-Range": f"bytes 0-{LENGTH - 1}/{LENGTH}"}, "begins at byte 0"),
        ({"Content-Range": f"bytes {HALF - 1}-{LENGTH - 1}/{LENGTH}"}, f"byte {HALF - 1}, and"),
        ({"Content-Range": f"bytes {HALF}-{LENGTH}/{LENGTH + 1}"}, f"had {LENGTH} bytes"),
        ({"Content-Range": f"bytes {HALF}-{LENGTH - 1}/*"}, "Content-Range is"),
        ({"Content-Range": None}, "Content-Range is ''"),
        ({"ETag": '"v2"'}, 'ETag is "v2"'),
        ({"ETag": 'W/"v1"'}, "missing or weak"),
        ({"ETag": None}, "missing or weak"),
    ],
)
async def test_what_does_not_continue_it_is_thrown_away(
    server: Server,
    tmp_path: Path,
    headers: dict[str, object],
    words: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    wrong = rest(HALF, **headers)
    with caplog.at_level(logging.INFO):
        assert await install(server, tmp_path, cut(HALF), wrong, answer()) == "example"
    assert words in caplog.text
    assert [asked for asked, _ in ranges(server)] == ["", f"bytes={HALF}-", ""]
    assert digest(tmp_path) == hashlib.sha256(PACKAGE).hexdigest()


async def test_416_throws_the_part_away(server: Server, tmp_path: Path) -> None:
    await interrupted(server, tmp_path, cut(HALF))
    gone = answer("416 Range Not Satisfiable", b"", **{"Content-Range": "bytes */9"})
    message = await interrupted(server, tmp_path, gone)
    assert "the server has no rest of what was begun" in message
    assert parts(tmp_path) == []
    assert await install(server, tmp_path, cut(HALF), gone, answer()) == "example"
    assert [asked for asked, _ in ranges(server)[-3:]] == ["", f"bytes={HALF}-", ""]


async def test_416_and_206_that_were_not_asked_for_are_final(
    server: Server, tmp_path: Path
) -> None:
    for wrong in (answer("416 No", b""), rest(HALF)):
        message = await refusal(server, tmp_path, wrong)
        assert f"responded with status {wrong[9:12].decode()}" in message
    assert len(server.requests) == 2


async def test_more_than_the_rest_is_refused_at_once_and_not_kept(
    server: Server, tmp_path: Path
) -> None:
    steps: list[int] = []
    longer = {"Content-Range": f"bytes {HALF}-{LENGTH - 1}/{LENGTH}", "ETag": ETAG}
    wrong = answer("206 Partial Content", PACKAGE[HALF:] + b"x" * 1_000_000, **longer)
    progress = {"progress": lambda done, _: steps.append(done)}
    message = await refusal(server, tmp_path, cut(HALF), wrong, **progress)
    assert f"has more than the {LENGTH} bytes that it announced" in message
    assert max(steps) <= LENGTH, "far below the limit, nothing more was taken"


async def test_a_server_that_fails_meanwhile_does_not_cost_the_part(
    server: Server, tmp_path: Path
) -> None:
    await interrupted(server, tmp_path, cut(HALF))
    for status in ("503 Later", "403 No"):
        assert f"{HALF} bytes are kept" in await interrupted(server, tmp_path, answer(status, b""))
    assert await install(server, tmp_path, rest(HALF)) == "example"


async def test_bytes_that_do_not_fit_have_another_digest_and_are_not_kept(
    server: Server, tmp_path: Path
) -> None:
    await interrupted(server, tmp_path, cut(HALF))
    part = parts(tmp_path)[0]
    part.write_bytes(b"x" * HALF)
    pinned = f"{server.base}/a.vp#sha256={hashlib.sha256(PACKAGE).hexdigest()}"
    sent = len(server.requests)
    with pytest.raises(VerificationError) as caught:
        await install(server, tmp_path, rest(HALF), source=pinned)
    wrong = hashlib.sha256(b"x" * HALF + PACKAGE[HALF:]).hexdigest()
    assert f"has sha256 {wrong}" in str(caught.value)
    assert len(server.requests) == sent + 1, "it is never retried"
    assert parts(tmp_path) == []
    assert await install(server, tmp_path, answer(), source=pinned) == "example"


async def test_another_server_is_not_asked_for_the_rest(server: Server, tmp_path: Path) -> None:
    await interrupted(server, tmp_path, redirect("/one.vp?sig=1"), cut(HALF))
    assert await install(server, tmp_path, redirect("/two.vp"), answer()) == "example"
    assert {asked for asked, _ in ranges(server)} == {""}


async def test_a_link_that_is_signed_anew_is_continued(server: Server, tmp_path: Path) -> None:
    await interrupted(server, tmp_path, redirect("/one.vp?sig=1"), cut(HALF))
    assert await install(server, tmp_path, redirect("/one.vp?sig=2"), rest(HALF)) == "example"
    assert ranges(server)[-2:] == [("", ""), (f"bytes={HALF}-", ETAG)]


async def test_two_downloads_of_one_address_at_once(server: Server, tmp_path: Path) -> None:
    await interrupted(server, tmp_path, cut(HALF))
    lock = parts(tmp_path)[0]
    with lock.open("rb+") as other:
        assert try_lock(other.fileno())
        more = HALF + 5
        assert await install(server, tmp_path, cut(more), rest(more)) == "example"
    assert ranges(server)[1:] == [("", ""), (f"bytes={more}-", ETAG)]
    assert lock.read_bytes() == PACKAGE[:HALF], "the other one's is untouched"


async def test_a_part_that_is_larger_than_the_limit_is_not_kept(
    server: Server, tmp_path: Path
) -> None:
    await interrupted(server, tmp_path, cut(HALF))
    message = await refusal(server, tmp_path, answer(), max_package_bytes=HALF - 1)
    assert f"has {LENGTH} bytes; the limit is {HALF - 1}" in message
    assert ranges(server)[-1] == ("", "")


async def test_a_full_disk_keeps_nothing(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await interrupted(server, tmp_path, cut(HALF))

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vconnect.packages.fetching.partial.os.pwrite", full)
    message = await refusal(server, tmp_path, rest(HALF))
    assert "cannot be saved: No space left on device" in message


async def test_what_is_a_day_old_goes_when_the_host_starts(server: Server, tmp_path: Path) -> None:
    await interrupted(server, tmp_path, cut(HALF))
    installer = PluginInstaller(tmp_path / "plugins")
    installer.discover()
    assert len(parts(tmp_path)) == 2
    os.utime(parts(tmp_path)[0], (0, 0))
    installer.discover()
    assert parts(tmp_path) == []


# --- what is there already -------------------------------------------------------------------


async def test_what_is_known_is_not_sent_again(server: Server, tmp_path: Path) -> None:
    source = parse_source(f"{server.base}/a.vp?signed=1")
    server.answers = [answer(ETag=ETAG)]
    first = await fetch(source, tmp_path, max_bytes=1 << 20, limits=LIMITS)
    assert first.edition is not None
    assert first.edition.etag == ETAG
    first.path.unlink()
    server.answers = [answer("304 Not Modified", b"")]
    # What changes in an address from day to day is no reason.
    again = parse_source(f"{server.base}/a.vp?signed=2")
    found = await fetch(again, tmp_path, max_bytes=1 << 20, limits=LIMITS, known=first.edition)
    assert (found.is_unchanged, found.edition) == (True, first.edition)
    assert f"if-none-match: {ETAG}" in server.requests[-1].lower()
    assert list(tmp_path.iterdir()) == []


async def test_another_place_is_asked_for_everything(server: Server, tmp_path: Path) -> None:
    known = Edition(ETAG, "elsewhere")
    server.answers = [redirect("/b.vp"), answer(ETag=None)]
    source = parse_source(f"{server.base}/a.vp")
    found = await fetch(source, tmp_path, max_bytes=1 << 20, limits=LIMITS, known=known)
    assert (found.is_unchanged, found.edition) == (False, None)
    assert all("if-none-match" not in one.lower() for one in server.requests)
    found.path.unlink()
    server.answers = [answer("304 Not Modified", b"")]
    with pytest.raises(InstallError, match="status 304"):
        await fetch(source, tmp_path, max_bytes=1 << 20, limits=LIMITS, known=known)
