"""All that is known of a directory before it is packed."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.package_kit import SCRIPT, manifest_bytes

from vconnect.packages.archive import ArchiveLimits
from vconnect.packages.manifest import Manifest, parse_manifest
from vconnect.packages.preparation import LARGE_BYTES, PackedFile, place_of_binary, prepare


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "plugin.json").write_bytes(manifest_bytes())
    (tmp_path / "example").write_bytes(SCRIPT)
    (tmp_path / "example").chmod(0o755)
    return tmp_path


def manifest(**fields: object) -> Manifest:
    return parse_manifest(manifest_bytes(**fields), "here")


def test_nothing_is_wrong(source: Path) -> None:
    (source / "lib").mkdir()
    (source / "lib" / "a").write_text("12345")
    found = prepare(source, manifest())
    assert (found.program, found.faults, found.left_out) == ("example", (), ())
    assert list(found.contents) == ["example", "lib", "lib/a", "plugin.json"]
    assert found.files[1] == PackedFile("lib/a", 5)


def test_all_that_is_wrong_is_found_at_once(source: Path) -> None:
    (source / "example").chmod(0o644)
    (source / "README").touch()
    (source / "readme").touch()
    (source / "bell\a").touch()
    (source / "link").symlink_to("/etc")
    (source / "pyproject.toml").write_text("[project]\nversion = '7'\n")
    (source / ".gitignore").write_text("*.json\n")
    found = prepare(source, manifest(config_schema={"type": 5}))
    words = [str(fault).removeprefix(str(source)).partition(";")[0] for fault in found.faults]
    assert [one[:50] for one in words] == [
        "/link: is a symbolic link, which a package must no",
        "/plugin.json: config_schema.type: expected anyOf [",
        f": cannot be started: {source}/example is not executable"[:50],
        ": plugin.json is needed to start the plugin, but l",
        "/pyproject.toml: project.version: version is '7', ",
        ": 'bell\\x07': has control or other unprintable cha",
        ": 'readme': differs from an earlier member only by",
    ]


def test_without_a_manifest_only_the_files_are_looked_at(source: Path) -> None:
    (source / "example").chmod(0o644)
    assert prepare(source, None).faults == ()


def test_too_much(source: Path) -> None:
    with (source / "huge").open("wb") as file:
        file.truncate(ArchiveLimits().unpacked_bytes + 1)
    (fault,) = prepare(source, manifest()).faults
    assert "the limit is 536870912" in fault.words
    assert [file.path for file in prepare(source, manifest()).files if file.is_large] == ["huge"]
    assert not PackedFile("x", LARGE_BYTES).is_large


def test_a_program_of_one_platform_takes_the_place_of_the_entry() -> None:
    assert place_of_binary(manifest()) == "example"
    assert place_of_binary(manifest(entry="bin/x")) == "bin/x"
