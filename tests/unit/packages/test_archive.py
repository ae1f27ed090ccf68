"""Unpacking: what a good package becomes, and each rule by itself."""

import gzip
import os
import tarfile
import threading
from pathlib import Path

import pytest
from tests.support.package_kit import (
    SCRIPT,
    directory,
    file,
    good_members,
    manifest_bytes,
    package_bytes,
    tar_bytes,
    tree,
    write_package,
)

from vconnect.errors import InstallError
from vconnect.packages.archive import ArchiveLimits, unpack


@pytest.fixture
def refuse(tmp_path: Path):
    """Unpack members that must be refused; return the message."""

    def unpack_members(members: list[tuple] | bytes, limits: ArchiveLimits | None = None) -> str:
        archive = tmp_path / "bad.vp"
        archive.write_bytes(members if isinstance(members, bytes) else package_bytes(members))
        with pytest.raises(InstallError) as caught:
            unpack(archive, tmp_path / "out", limits)
        assert not (tmp_path / "out").exists()
        assert str(archive) in str(caught.value)
        return str(caught.value)

    return unpack_members


@pytest.mark.parametrize("top", ["", "./", "example-0.1/", "./a/"])
def test_manifest_at_the_root_or_in_the_single_top_directory(tmp_path: Path, top: str) -> None:
    archive = write_package(tmp_path / "a.vp", good_members(top))
    unpacked = unpack(archive, tmp_path / "out")
    assert unpacked.manifest.plugin == "example"
    assert tree(unpacked.path) == {"example": SCRIPT, "plugin.json": manifest_bytes()}


@pytest.mark.parametrize(
    "tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
)
def test_long_names_in_every_format(tmp_path: Path, tar_format: int) -> None:
    long = "/".join(["node_modules", "a" * 60, "b" * 60, "index.js"])
    members = [*good_members(), file(long, b"x" * 1000)]
    archive = tmp_path / "a.vp"
    archive.write_bytes(package_bytes(members, tar_format))
    unpacked = unpack(archive, tmp_path / "out")
    assert (unpacked.path / long).read_bytes() == b"x" * 1000


@pytest.mark.parametrize("tar_format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_names_beyond_ascii(tmp_path: Path, tar_format: int) -> None:
    archive = tmp_path / "a.vp"
    archive.write_bytes(package_bytes([*good_members(), file("größe 大.txt", b"1")], tar_format))
    assert (unpack(archive, tmp_path / "out").path / "größe 大.txt").read_bytes() == b"1"


def test_modes_are_reduced_whatever_the_umask(tmp_path: Path) -> None:
    members = [
        file("plugin.json", manifest_bytes(), 0o666),
        file("example", SCRIPT, 0o6711),
        directory("data/"),
        file("data/inner/x", b"", 0o600),
    ]
    archive = write_package(tmp_path / "a.vp", members)
    umask = os.umask(0o077)
    try:
        path = unpack(archive, tmp_path / "out").path
    finally:
        os.umask(umask)
    modes = {item.name: item.stat().st_mode & 0o7777 for item in (path, *path.rglob("*"))}
    assert modes == {
        "out": 0o755,
        "plugin.json": 0o644,
        "example": 0o755,
        "data": 0o755,
        "inner": 0o755,
        "x": 0o644,
    }


def test_a_global_header_with_a_comment_is_fine(tmp_path: Path) -> None:
    comment = tarfile.TarInfo.create_pax_global_header({"comment": "0123abc"})
    archive = tmp_path / "a.vp"
    archive.write_bytes(gzip.compress(comment + tar_bytes(good_members())))
    assert unpack(archive, tmp_path / "out").manifest.plugin == "example"


def test_a_directory_may_be_named_after_what_it_holds(tmp_path: Path) -> None:
    members = [*good_members(), file("lib/a", b"1"), directory("lib/"), file("lib/b", b"2")]
    path = unpack(write_package(tmp_path / "a.vp", members), tmp_path / "out").path
    assert (path / "lib" / "b").read_bytes() == b"2"


@pytest.mark.parametrize("top", ["", "example-0.1/"])
def test_what_macos_adds_is_skipped_with_one_line(tmp_path: Path, caplog, top: str) -> None:
    litter = [
        "._example-0.1",
        ".DS_Store",
        "__MACOSX/x/._y",
        f"{top}._plugin.json",
        f"{top}a/._b/c",
    ]
    members = [file(name, b"x", 0o755) for name in litter]
    path = unpack(
        write_package(tmp_path / "a.vp", members + good_members(top)), tmp_path / "out"
    ).path
    assert sorted(one.name for one in path.iterdir()) == ["example", "plugin.json"]
    (record,) = caplog.records
    assert record.getMessage() == (
        f"{tmp_path / 'a.vp'}: skipped 5 members that macOS added, such as '._example-0.1'"
    )


def test_what_macos_adds_must_keep_the_rules_too(refuse) -> None:
    assert "symbolic link" in refuse([*good_members(), file("._a", type=tarfile.SYMTYPE)])
    assert "upward" in refuse([*good_members(), file("../._a")])


def test_what_is_beside_the_single_top_directory_is_named(refuse) -> None:
    message = refuse([*good_members("example/"), file("README")])
    assert message.endswith("at the root is: 'README', 'example'")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("../evil", "leads upward"),
        ("a/../../evil", "leads upward"),
        ("/etc/evil", "absolute"),
        ("a\nb", "control"),
        (".", "root"),
        ("././.", "root"),
        ("x/" * 40 + "y", "deep"),
        ("n" * 256, "more than 255 bytes"),
        ("p/" * 20 + "n" * 600, "path of more than"),
    ],
)
def test_refused_names(refuse, name: str, words: str) -> None:
    message = refuse([*good_members(), file(name, b"x")])
    assert words in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ("readme", "readme", "twice"),
        ("readme", "README", "case"),
        ("straße", "STRASSE", "case"),
        ("caf\u00e9", "cafe\u0301", "Unicode form"),
        ("lib/a", "LIB/b", "case"),
        ("lib", "lib/a", "twice"),
        ("lib/a", "lib", "twice"),
        ("./readme", "readme", "twice"),
        ("a//b", "a/b", "twice"),
    ],
)
def test_names_that_meet(refuse, first: str, second: str, words: str) -> None:
    message = refuse([*good_members(), file(first, b"1"), file(second, b"2")])
    assert words in message
    assert repr(second) in message


def test_a_directory_twice(refuse) -> None:
    assert "twice" in refuse([*good_members(), directory("lib/"), directory("lib/")])


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (tarfile.SYMTYPE, "symbolic link"),
        (tarfile.LNKTYPE, "hard link"),
        (tarfile.CHRTYPE, "character device"),
        (tarfile.BLKTYPE, "block device"),
        (tarfile.FIFOTYPE, "fifo"),
        (tarfile.CONTTYPE, "contiguous"),
        (tarfile.GNUTYPE_SPARSE, "sparse"),
        (b"Z", "unknown type"),
    ],
)
def test_refused_kinds(refuse, kind: bytes, words: str) -> None:
    message = refuse([*good_members(), file("odd", type=kind, linkname="/etc/passwd")])
    assert words in message
    assert "'odd'" in message


def test_a_long_link_is_refused_as_a_link(refuse) -> None:
    link = file("odd", type=tarfile.SYMTYPE, linkname="../" * 60)
    assert "symbolic link" in refuse(package_bytes([link], tarfile.GNU_FORMAT))


def test_no_manifest(refuse) -> None:
    assert "no plugin.json" in refuse([file("a/b/plugin.json", manifest_bytes())])
    assert "no plugin.json" in refuse([*good_members("a/"), file("b", b"")])
    assert "no plugin.json" in refuse([])


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        (b"{", "plugin.json"),
        (b"[" * 20_000, "plugin.json"),
        (b'{"name": "../x"}', "'../x'"),
        (b'{"name": "x", "entry": "../y"}', "inside the package"),
        (b'{"name": "x", "entry": "bin/y"}', "no such file"),
        (b'{"name": "x", "priority": "high"}', "priority"),
    ],
)
def test_bad_manifests(refuse, manifest: bytes, words: str) -> None:
    message = refuse([file("plugin.json", manifest), file("example", SCRIPT, 0o755)])
    assert words in message


def test_limits(refuse) -> None:
    assert "the limit is 100" in refuse(good_members(), ArchiveLimits(packed_bytes=100))
    assert "more than 2000 bytes" in refuse(good_members(), ArchiveLimits(unpacked_bytes=2000))
    members = [*good_members(), *(file(f"d{i}/f") for i in range(5))]
    assert "one member too many" in refuse(members, ArchiveLimits(members=11))
    roots = [*good_members(), *[directory("./")] * 12]
    assert "one member too many" in refuse(roots, ArchiveLimits(members=11))


def test_not_a_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.vp")
    with pytest.raises(InstallError, match="not a regular file"):
        unpack(tmp_path / "fifo.vp", tmp_path / "out")
    with pytest.raises(InstallError, match="No such file"):
        unpack(tmp_path / "none.vp", tmp_path / "out")


def test_called_off(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    archive = write_package(tmp_path / "a.vp")
    with pytest.raises(InstallError, match="was cancelled"):
        unpack(archive, tmp_path / "out", stop=stop)
    assert not (tmp_path / "out").exists()


def test_an_existing_target_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(InstallError, match="exists"):
        unpack(write_package(tmp_path / "a.vp"), tmp_path / "out")
    assert (tmp_path / "out" / "mine").exists()
