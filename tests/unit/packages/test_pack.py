"""Making packages."""

import gzip
import hashlib
import io
import os
import re
import shutil
import struct
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.package_kit import SCRIPT, manifest_bytes, tree

from vconnect.errors import InstallError, ManifestError
from vconnect.packages.archive import unpack
from vconnect.packages.pack import pack
from vconnect.packages.preparation import Binary
from vconnect.removal import remove_tree
from vconnect.store.trees import seal


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.mkdir()
    (path / "plugin.json").write_bytes(manifest_bytes())
    (path / "example").write_bytes(SCRIPT)
    (path / "example").chmod(0o700)
    return path


def refused(source: Path, output: Path | None = None) -> str:
    before = sorted(Path.cwd().iterdir())
    with pytest.raises((InstallError, ManifestError)) as caught:
        pack(source, output)
    assert sorted(Path.cwd().iterdir()) == before
    return str(caught.value)


def names(package: Path) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(package.read_bytes()))) as archive:
        return archive.getnames()


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")


def test_what_is_packed_can_be_unpacked(source: Path, tmp_path: Path) -> None:
    (source / "lib" / "empty").mkdir(parents=True)
    (source / "lib" / ("long" * 40)).write_text("x")
    (source / "größe.txt").write_text("x")
    package = pack(source).path
    assert package == Path("example-0.1.0.vp")
    assert package.stat().st_mode & 0o777 == 0o644
    unpacked = unpack(package, tmp_path / "out")
    assert tree(unpacked.path) == tree(source)
    assert (unpacked.path / "example").stat().st_mode & 0o777 == 0o755


def test_the_same_directory_gives_the_same_bytes(source: Path) -> None:
    first = pack(source, Path("a.vp")).path.read_bytes()
    os.utime(source / "example", (1, 1))
    (source / "example").chmod(0o755)
    assert pack(source, Path("b.wkp")).path.read_bytes() == first


def test_nothing_but_the_contents_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made elsewhere, later, in another order and time zone, and by who has another umask."""
    names = ["plugin.json", "example", "lib/a", "lib/b/c", "größe", "Z", "a"]
    made = []
    for number, order in enumerate((names, names[::-1])):
        monkeypatch.setenv("TZ", ("UTC", "Asia/Tokyo")[number])
        time.tzset()
        monkeypatch.setattr(Path, "iterdir", lambda path, _n=number: _listed(path, bool(_n)))
        before = os.umask((0o077, 0o002)[number])
        try:
            source = tmp_path / f"deep{number}" / ("x" * number + "y")
            for name in order:
                path = source / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(manifest_bytes() if name == "plugin.json" else SCRIPT)
                os.utime(path, (number * 1e9, number * 1e9))
            (source / "example").chmod((0o500, 0o775)[number])
            package = pack(source, Path(f"{number}.vp"))
        finally:
            os.umask(before)
        made.append((package.sha256, package.tree, Path(f"{number}.vp").read_bytes()))
    monkeypatch.undo()
    time.tzset()
    assert made[0] == made[1]


def _listed(path: Path, is_reversed: bool) -> Iterator[Path]:
    return iter([path / name for name in sorted(os.listdir(path), reverse=is_reversed)])  # noqa: PTH208 - it is replaced


def test_the_digests_are_of_the_file_and_of_what_is_in_it(source: Path, tmp_path: Path) -> None:
    made = pack(source)
    data = made.path.read_bytes()
    assert made.sha256 == hashlib.sha256(data).hexdigest()
    # The same contents by another compressor, as it is installed.
    Path("other.vp").write_bytes(gzip.compress(gzip.decompress(data), 1))
    assert Path("other.vp").read_bytes() != data
    unpacked = unpack(Path("other.vp"), tmp_path / "out").path
    assert seal(unpacked).digest == made.tree
    remove_tree(tmp_path / "out")


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs sha256sum")
@pytest.mark.parametrize("name", ["a.vp", "with space.vp", "back\\slash.vp", "new\nline.vp"])
def test_sha256sum_accepts_the_file_beside_it(source: Path, name: str) -> None:
    pack(source, Path(name))
    checked = subprocess.run(["sha256sum", "-c", f"{name}.sha256"], capture_output=True, text=True)
    assert (checked.returncode, checked.stdout.endswith(": OK\n")) == (0, True), checked
    assert Path(f"{name}.sha256").stat().st_mode & 0o777 == 0o644


def test_what_is_beside_a_package_is_not_packed_the_next_time(source: Path) -> None:
    first = pack(source, source / "a.vp").sha256
    (source / "a.vp.minisig").touch()
    assert pack(source, source / "a.vp").sha256 == first


def test_versions_that_differ(source: Path) -> None:
    (source / "pyproject.toml").write_text('[project]\nname = "x"\nversion = "0.2"\n')
    assert "version is '0.2', and plugin.json has '0.1.0'" in refused(source)


def test_several_faults_are_counted(source: Path) -> None:
    (source / "link").symlink_to("example")
    (source / "example").write_bytes(b"#!/bin/sh\r\n")
    assert f"1 more: vconnect check {source}" in refused(source)


# For one platform.


def head(machine: int = 62) -> bytes:
    return b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HH", 3, machine) + bytes(44)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "built"
    path.write_bytes(head())
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("entry", ["", "bin/run"])
def test_a_program_for_one_platform_is_the_entry(
    source: Path, program: Path, tmp_path: Path, entry: str
) -> None:
    (source / "example").unlink()
    (source / "plugin.json").write_bytes(manifest_bytes(entry=entry, future=1))
    made = pack(source, binary=Binary("linux-amd64", program))
    assert made.path == Path("example-0.1.0-linux-amd64.vp")
    unpacked = unpack(made.path, tmp_path / "out")
    assert unpacked.manifest.platform == "linux-amd64"
    assert unpacked.manifest.raw["future"] == 1
    assert (unpacked.path / (entry or "example")).read_bytes() == head()
    assert pack(source, binary=Binary("linux-amd64", program)).sha256 == made.sha256


def test_it_is_in_the_package_once(source: Path, program: Path) -> None:
    program.rename(source / "example-linux")
    (source / "link").symlink_to(source / "example-linux")
    (source / ".gitignore").write_text("link\n")
    made = pack(source, binary=Binary("linux-amd64", source / "link"))
    assert [file.path for file in made.files] == ["example", "plugin.json"]


def test_an_ignored_program_is_packed_where_it_belongs(source: Path, program: Path) -> None:
    (source / "target").mkdir()
    program.rename(source / "target" / "example")
    made = pack(source, binary=Binary("linux-amd64-musl", source / "target" / "example"))
    assert made.path.name == "example-0.1.0-linux-amd64-musl.vp"
    assert [file.path for file in made.files] == ["example", "plugin.json"]


@pytest.mark.parametrize(
    ("fields", "platform", "mode", "words"),
    [
        ({}, "linux-arm64", 0o755, "is an ELF program for linux-amd64, but the platform is"),
        ({}, "linux-x86_64", 0o755, "platform 'linux-x86_64': expected one of linux-amd64, "),
        ({}, "linux-amd64", 0o644, "is not executable; try: chmod +x"),
        ({"platform": "linux-arm64"}, "linux-amd64", 0o755, "platform is 'linux-arm64', and the"),
        ({"entry": "run"}, "linux-amd64", 0o755, "would start example, not run"),
    ],
)
def test_a_program_that_is_not_for_it(
    source: Path, program: Path, fields: dict, platform: str, mode: int, words: str
) -> None:
    program.chmod(mode)
    (source / "plugin.json").write_bytes(manifest_bytes(**fields))
    with pytest.raises(InstallError, match=re.escape(words)):
        pack(source, binary=Binary(platform, program))
    assert list(Path().iterdir()) == []


def test_the_program_of_a_manifest_with_a_platform(source: Path) -> None:
    (source / "plugin.json").write_bytes(manifest_bytes(platform="linux-arm64"))
    pack(source)  # a script runs on each
    (source / "example").write_bytes(head())
    assert "is an ELF program for linux-amd64" in refused(source)


def test_without_a_version(source: Path) -> None:
    (source / "plugin.json").write_bytes(manifest_bytes(version="", name="wk.plugin.example"))
    assert pack(source).path == Path("example.vp")


def test_what_is_left_out(source: Path) -> None:
    for name in (
        ".git/config",
        "lib/__pycache__/a.pyc",
        "lib/b.pyc",
        "lib/._b",
        "._example",
        ".DS_Store",
        "target/debug/example",
        "old.vp",
        "old.wkp",
        "lib/target/kept",
        "node_modules/a/index.js",
    ):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).touch()
    packed = names(pack(source, source / "new.vp").path)
    assert packed == [
        "example",
        "lib",
        "lib/target",
        "lib/target/kept",
        "node_modules",
        "node_modules/a",
        "node_modules/a/index.js",
        "plugin.json",
    ]
    assert names(pack(source, source / "new.vp").path) == packed


def test_a_link_is_refused_by_name(source: Path) -> None:
    (source / "lib").mkdir()
    (source / "lib" / "link").symlink_to("/etc/passwd")
    message = refused(source)
    assert str(source / "lib" / "link") in message
    assert "symbolic link" in message


def test_a_fifo_is_refused_by_name(source: Path) -> None:
    os.mkfifo(source / "pipe")
    assert str(source / "pipe") in refused(source)


def test_names_that_would_meet_elsewhere(source: Path) -> None:
    (source / "readme").touch()
    (source / "README").touch()
    assert "case" in refused(source)


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[31mb"])
def test_names_that_no_package_may_hold(source: Path, name: str) -> None:
    (source / name).touch()
    assert "control" in refused(source)


def test_nothing_to_start(source: Path) -> None:
    (source / "example").chmod(0o644)
    assert "chmod +x" in refused(source)
    (source / "plugin.json").write_bytes(manifest_bytes(entry="bin/x"))
    assert "bin/x does not exist" in refused(source)


def test_an_entry_that_is_left_out(source: Path) -> None:
    (source / "plugin.json").write_bytes(manifest_bytes(entry="target/x"))
    (source / "example").unlink()
    (source / "target").mkdir()
    (source / "target" / "x").write_bytes(SCRIPT)
    (source / "target" / "x").chmod(0o755)
    assert "target/x" in refused(source)


def test_bad_sources_and_outputs(source: Path, tmp_path: Path) -> None:
    assert "not a directory" in refused(tmp_path / "none")
    assert ".vp" in refused(source, Path("x.zip"))
    assert "No such file" in refused(source, Path("none/x.vp"))
    (source / "plugin.json").write_bytes(manifest_bytes(version="../1"))
    assert "'../1'" in refused(source)
    (source / "plugin.json").write_bytes(b"{}")
    assert "name" in refused(source)


def test_what_is_packed_is_told_with_its_size(source: Path) -> None:
    (source / "lib").mkdir()
    (source / "lib" / "a").write_text("12345")
    (source / ".env").touch()
    packed = pack(source)
    assert [(file.path, file.size_bytes) for file in packed.files] == [
        ("example", len(SCRIPT)),
        ("lib/a", 5),
        ("plugin.json", len(manifest_bytes())),
    ]
    assert [left.path for left in packed.left_out] == [".env"]
    assert packed.size_bytes == packed.path.stat().st_size
    assert ".env" in names(pack(source, include=[".env"]).path)


@pytest.mark.parametrize(
    ("rules", "entry", "words"),
    [
        (
            "# built\ndist/\n",
            "dist/run",
            "line 2 of .gitignore (dist/); add !/dist/run to .vpignore",
        ),
        ("run\n", "dist/run", "line 1 of .gitignore (run); add !/dist/run to .vpignore"),
        ("*.json\n", "", "plugin.json is needed to start the plugin, but left out: line 1 of"),
        ("", "run.key", "looks like a secret; pack it with --include run.key"),
    ],
)
def test_what_starts_the_plugin_is_never_left_out(
    source: Path, rules: str, entry: str, words: str
) -> None:
    (source / ".gitignore").write_text(rules)
    if entry:
        (source / "example").unlink()
        (source / "plugin.json").write_bytes(manifest_bytes(entry=entry))
        program = source / entry
        program.parent.mkdir(exist_ok=True)
        program.write_bytes(SCRIPT)
        program.chmod(0o755)
    assert words in refused(source)
    # The remedy that the message names is one.
    left = entry or "plugin.json"
    (source / ".vpignore").write_text(f"!/{left}\n")
    include = [left] if left.endswith(".key") else []
    assert left in names(pack(source, include=include).path)


def test_a_first_line_as_on_windows_is_refused(source: Path) -> None:
    (source / "example").write_bytes(b"#!/bin/sh\r\nexit 0\r\n")
    assert "carriage return" in refused(source)


def test_a_wrong_manifest_is_its_own_error(source: Path) -> None:
    (source / "plugin.json").write_bytes(b'{"name": 5}')
    with pytest.raises(ManifestError, match="expected `str`, got `int`"):
        pack(source)
