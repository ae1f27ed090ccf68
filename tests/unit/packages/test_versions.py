"""The versions that a directory states."""

from __future__ import annotations

from pathlib import Path

import pytest

from vconnect.packages.manifest import Manifest
from vconnect.packages.versions import find_version_faults

CLASS = "from vconnect import Plugin\n\nclass Example({base}):\n    version{kind} = {version}\n"


def faults(directory: Path, version: str = "1.2.0", program: str = "") -> list[str]:
    found = find_version_faults(directory, Manifest(name="x", version=version), program)
    return [str(fault).replace(f"{directory}/", "") for fault in found]


@pytest.mark.parametrize(
    ("version", "same"),
    [("1.2.0", True), ("1.2", True), ("v1.2", True), ("1.2.1", False), ("1.2.0rc1", False)],
)
def test_a_project(tmp_path: Path, version: str, same: bool) -> None:
    (tmp_path / "pyproject.toml").write_text(f"[project]\nname = 'x'\nversion = '{version}'\n")
    assert faults(tmp_path) == (
        []
        if same
        else [
            f"pyproject.toml: project.version: version is {version!r}, and plugin.json has "
            "'1.2.0'; write the same one in both"
        ]
    )
    assert faults(tmp_path, version="") == []


@pytest.mark.parametrize(
    ("semver", "pep440"),
    [
        ("1.0.0-rc.1", "1.0.0rc1"),
        ("1.0.0-alpha.2", "1.0.0a2"),
        ("1.0.0-beta2", "1.0.0b2"),
        ("1.0.0-dev.3", "1.0.0.dev3"),
    ],
)
def test_two_spellings_of_a_pre_release(tmp_path: Path, semver: str, pep440: str) -> None:
    (tmp_path / "pyproject.toml").write_text(f"[project]\nversion = '{pep440}'\n")
    assert faults(tmp_path, version=semver) == []
    assert len(faults(tmp_path, version="1.0.0")) == 1


@pytest.mark.parametrize(
    "text", ["", "[project]\ndynamic = ['version']", "project = 1", "[project]\nversion = 1"]
)
def test_a_project_without_a_version(tmp_path: Path, text: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    assert faults(tmp_path) == []


@pytest.mark.parametrize("text", ["[project", "\udcff", "a = " + "[" * 5000])
def test_a_project_that_cannot_be_read(tmp_path: Path, text: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text, errors="surrogateescape")
    (found,) = faults(tmp_path)
    assert found.startswith("pyproject.toml: cannot be read: ")


@pytest.mark.parametrize(
    ("base", "kind", "version", "found"),
    [
        ("Plugin", "", "'1.2.0'", False),
        ("Plugin", "", "'1.3'", True),
        ("vconnect.Plugin", ": str", "'1.3'", True),
        ("Thing", "", "'1.3'", False),
        ("Plugin", "", "VERSION", False),
        ("Plugin", ": str", "1", False),
    ],
)
def test_a_class(tmp_path: Path, base: str, kind: str, version: str, found: bool) -> None:
    (tmp_path / "plugin.py").write_text(CLASS.format(base=base, kind=kind, version=version))
    told = faults(tmp_path)
    assert [one.partition(" is ")[0] for one in told] == (["plugin.py:4: version"] if found else [])


def test_the_program_is_looked_into_as_well(tmp_path: Path) -> None:
    source = CLASS.format(base="Plugin", kind="", version="'9'")
    (tmp_path / "run.py").write_text(source)
    (tmp_path / "run").write_text(source)
    assert len(faults(tmp_path, program="run.py")) == 1
    assert faults(tmp_path, program="run") == []


@pytest.mark.parametrize(
    "data", [b"class", b"\0", b"\xff", b"(" * 10_000, b"-" * 100_000 + b"1", b"#" * 300_000]
)
def test_a_source_that_cannot_be_parsed_says_nothing(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "plugin.py").write_bytes(data)
    assert faults(tmp_path) == []


def test_a_source_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "plugin.py").write_text("raise SystemExit(1)\nx = '\\d'\n")
    assert faults(tmp_path) == []
