"""A plugin's directory: what pack would refuse, and what it would leave out."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.package_kit import SCRIPT, manifest_bytes

from vconnect.checks.directory import check_directory
from vconnect.checks.report import Finding, Report
from vconnect.errors import InstallError, ManifestError
from vconnect.packages.pack import pack


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    source.mkdir()
    (source / "plugin.json").write_bytes(manifest_bytes())
    (source / "example").write_bytes(SCRIPT)
    (source / "example").chmod(0o755)
    return source


def faults(report: Report, source: Path) -> list[str]:
    found = [one for one in report.findings if one.is_fault]
    return [f"{one.place}: {one.message}".replace(f"{source}/", "") for one in found]


def test_a_good_one_says_what_is_left_out(source: Path) -> None:
    (source / ".env").touch()
    (source / "dist").mkdir()
    (source / ".gitignore").write_text("dist/\n")
    with (source / "model").open("wb") as file:
        file.truncate(60 << 20)
    report = check_directory(source)
    assert (report.faults, report.is_unusable) == (0, False)
    told = {Path(one.place).name: one.message for one in report.findings[2:]}
    assert told == {
        ".env": "is left out of the package: looks like a secret",
        ".gitignore": "is left out of the package: line 2 of the built-in rules (.gitignore)",
        "dist": "is left out of the package: line 1 of .gitignore (dist/)",
        "model": "has 62914560 bytes; is it needed?",
    }


def test_all_at_once_and_pack_refuses_it_too(source: Path, tmp_path: Path) -> None:
    (source / "plugin.json").write_bytes(manifest_bytes(entry="dist/run", permissions=["a b"]))
    (source / "dist").mkdir()
    (source / "dist" / "run").write_bytes(SCRIPT)
    (source / "dist" / "run").chmod(0o755)
    (source / "example").unlink()
    (source / ".gitignore").write_text("dist/\n")
    (source / "link").symlink_to("/etc")
    (source / "key.txt").write_text("-----BEGIN PRIVATE KEY-----\n")
    report = check_directory(source)
    assert [one.partition(";")[0] for one in faults(report, source)] == [
        "plugin.json: permissions: got 'a b'",
        "key.txt: contains what looks like a private key or a token",
        "link: is a symbolic link, which a package must not contain",
        f"{source}: dist/run is needed to start the plugin, but left out: line 1 of .gitignore "
        "(dist/)",
    ]
    assert not report.is_unusable
    with pytest.raises(InstallError):
        pack(source, tmp_path / "a.vp")


@pytest.mark.parametrize("data", [b"{", b"{}", b'{"name": 5, "entry": "/x"}'])
def test_without_a_manifest_the_files_are_checked(source: Path, data: bytes) -> None:
    (source / "plugin.json").write_bytes(data)
    (source / "link").symlink_to("/etc")
    report = check_directory(source)
    assert report.is_unusable
    found = faults(report, source)
    assert found[0].startswith("plugin.json")
    assert found[-1].startswith("link: is a symbolic link")
    with pytest.raises(ManifestError):
        pack(source)


def test_an_empty_directory(tmp_path: Path) -> None:
    report = check_directory(tmp_path)
    assert report.findings == (
        Finding(str(tmp_path), "contains no plugin.json; is it a plugin's directory?"),
    )


def test_a_directory_that_is_no_plugin_is_told_in_a_line(tmp_path: Path) -> None:
    for number in range(100):
        (tmp_path / f".{number}").touch()
    report = check_directory(tmp_path)
    (finding,) = report.findings
    assert "contains no plugin.json" in finding.message
    assert report.is_unusable


def test_not_every_path_that_is_left_out_is_named(source: Path) -> None:
    for number in range(100):
        (source / f".env{number}").touch()
    notes = [one.message for one in check_directory(source).findings]
    assert len(notes) < 30
    assert notes[-1] == "80 more paths are left out of the package"
