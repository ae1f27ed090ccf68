"""The fuzzers' checks on random input, so that they keep up with the code they check."""

from __future__ import annotations

import random
from pathlib import Path
from types import ModuleType

import pytest
from fuzzing import fuzz_archive, fuzz_framing, fuzz_messages, fuzz_session, fuzz_texts
from tests.support.package_kit import directory, file, good_members, package_bytes, tar_bytes
from tests.support.wire_kit import raw_frame

from vconnect._framing import FrameDecoder
from vconnect.errors import InstallError

RAW, TAR, TAR_TO_CORRECT = b"\0", b"\1", b"\2"


def stream(rng: random.Random) -> bytes:
    frames = [raw_frame(rng.randbytes(rng.randrange(1, 60))) for _ in range(rng.randrange(12))]
    return rng.randbytes(2) + b"".join(frames) + rng.randbytes(rng.randrange(6))


def test_random_streams_decode_as_the_reference_says() -> None:
    rng = random.Random(5)
    assert sum(fuzz_framing.check(stream(rng)) for _ in range(500)) > 500


@pytest.mark.parametrize("data", [b"", b"\0", b"\0\0", b"\0\0\0\0\0\0", b"\0\0\xff\xff\xff\xff"])
def test_short_and_broken_streams_are_checked(data: bytes) -> None:
    assert fuzz_framing.check(data) == 0


class Forgetful:
    """A decoder that drops the last frame of each piece."""

    def __init__(self, limit: int) -> None:
        self._decoder = FrameDecoder(limit)

    def feed(self, data: bytes) -> list[bytes]:
        return self._decoder.feed(data)[:-1]

    def finish(self) -> None:
        self._decoder.finish()

    @property
    def buffered_bytes(self) -> int:
        return self._decoder.buffered_bytes


def test_a_lost_frame_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz_framing, "FrameDecoder", Forgetful)
    with pytest.raises(AssertionError):
        fuzz_framing.check(b"\xff\xff" + raw_frame(b"{}"))


def test_sound_packages_are_accepted() -> None:
    members = [*good_members(), directory("d/"), file("d/a", b"x" * 700)]
    assert fuzz_archive.check(RAW + package_bytes(members))
    assert fuzz_archive.check(TAR + tar_bytes(members))
    assert fuzz_archive.check(TAR_TO_CORRECT + tar_bytes(members))


def test_damaged_packages_are_accepted_whole_or_refused() -> None:
    rng = random.Random(7)
    good = tar_bytes([*good_members(), directory("d/"), file("d/a", b"x" * 700)])
    accepted = 0
    for _ in range(300):
        damaged = bytearray(good)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(3500)] = rng.randrange(256)
        accepted += fuzz_archive.check(rng.choice((TAR, TAR_TO_CORRECT)) + damaged)
    assert 0 < accepted < 300


def test_a_file_left_by_a_refusal_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(archive, out, limits):
        out.mkdir()
        raise InstallError("refused")

    monkeypatch.setattr(fuzz_archive, "unpack", careless)
    with pytest.raises(AssertionError, match="left files behind"):
        fuzz_archive.check(RAW)


def test_a_mode_that_was_not_reduced_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(archive, out, limits):
        out.mkdir()
        (out / "tool").touch()
        (out / "tool").chmod(0o4755)

    monkeypatch.setattr(fuzz_archive, "unpack", careless)
    with pytest.raises(AssertionError, match="tool"):
        fuzz_archive.check(RAW)


# --- what a peer means, what people write, and whole sessions ---------------------------------

CORPUS = Path(fuzz_session.__file__).with_name("corpus")
HARNESSES: list[ModuleType] = [fuzz_framing, fuzz_messages, fuzz_session, fuzz_texts]


@pytest.mark.parametrize("harness", HARNESSES, ids=lambda one: one.__name__.rpartition(".")[2])
def test_the_corpus_finds_nothing(harness: ModuleType) -> None:
    files = sorted((CORPUS / harness.__name__.rpartition(".")[2]).iterdir())
    assert files
    for found in files:
        harness.check(found.read_bytes())


def test_messages_are_told_apart() -> None:
    seen = {
        fuzz_messages.check(data)
        for data in (
            b'{"name":"x"}',
            b'{"status":"error"}',
            b"[1]",
            b"{",
            b"[" * 600,
        )
    }
    assert seen == {"handshake", "object", "json", "bad_json"}


def test_random_manifests_and_configurations_are_named() -> None:
    rng = random.Random(3)
    seeds = [one.read_bytes() for one in (CORPUS / "fuzz_texts").iterdir()]
    errors = 0
    for _ in range(300):
        damaged = bytearray(rng.choice(seeds))
        damaged[rng.randrange(1, len(damaged))] = rng.randrange(256)
        errors += bool(fuzz_texts.check(bytes(damaged)))
    assert 0 < errors < 300


def test_random_sessions_hold_nothing() -> None:
    rng = random.Random(9)
    assert max(fuzz_session.check(rng.randbytes(rng.randrange(1, 260))) for _ in range(150)) > 0


def test_a_session_that_takes_too_much_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz_session, "_MOST_GROWTH_KIB", -1)
    with pytest.raises(AssertionError, match="the memory grew"):
        fuzz_session.check(b"\0\0\0\0\0")


def test_a_read_that_takes_too_long_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz_session, "_LONGEST_FRAME_S", 0.0)
    with pytest.raises(AssertionError, match="a read took"):
        fuzz_session.check(b"\1" + b"\1\0\5\1")
