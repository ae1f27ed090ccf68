"""Making packages."""

import gzip
import io
import os
import tarfile
from pathlib import Path

import pytest
from tests.support.package_kit import SCRIPT, manifest_bytes, tree

from vconnect.errors import InstallError, ManifestError
from vconnect.packages.archive import unpack
from vconnect.packages.pack import pack


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
