"""What a plugin's directory declares."""

from __future__ import annotations

from pathlib import Path

import pytest

from vconnect.environments.declared import Declared, read_declared
from vconnect.errors import InstallError

PROJECT = '[project]\nname = "x"\ndependencies = ["a>=1", "vconnect>=0.1"]\n'
SCRIPT = '#!/usr/bin/env python3\n# /// script\n# dependencies = ["b"]\n# ///\nimport b\n'


def declared(directory: Path, **files: str) -> Declared | None:
    names = {"project": "pyproject.toml", "script": "plugin.py", "list": "requirements.txt"}
    for name, text in files.items():
        (directory / names[name]).write_text(text)
    return read_declared(directory)


@pytest.mark.parametrize(
    ("files", "origin", "requirements"),
    [
        ({"project": PROJECT}, "pyproject.toml", ("a>=1",)),
        ({"script": SCRIPT}, "plugin.py", ("b",)),
        ({"list": "c==1 # why\n\n# d\n e[x]>=2 ; os_name == 'posix'\n"}, "requirements.txt",
         ("c==1", 'e[x]>=2; os_name == "posix"')),
        ({"project": PROJECT, "script": SCRIPT, "list": "c"}, "pyproject.toml", ("a>=1",)),
        ({"project": '[project]\nname = "x"\n', "script": SCRIPT}, "plugin.py", ("b",)),
        ({"script": "import os\n", "list": "c"}, "requirements.txt", ("c",)),
    ],
)  # fmt: skip
def test_the_first_file_that_declares_anything(
    tmp_path: Path, files, origin: str, requirements: tuple[str, ...]
) -> None:
    found = declared(tmp_path, **files)
    assert found is not None
    assert (found.origin, found.requirements) == (origin, requirements)


@pytest.mark.parametrize(
    "files", [{}, {"list": "# none\n"}, {"list": "vconnect\n"}, {"project": "[tool.x]\n"}]
)
def test_no_dependencies_are_none(tmp_path: Path, files) -> None:
    assert declared(tmp_path, **files) is None


def test_versions_of_python_and_of_the_kit(tmp_path: Path) -> None:
    text = PROJECT.replace("vconnect>=0.1", "VConnect<1") + 'requires-python = ">=3.11,<3.13"\n'
    found = declared(tmp_path, project=text)
    assert found is not None
    assert [found.takes_python(one) for one in ("3.10.1", "3.11.0", "3.12.9", "3.13.0rc1")] == [
        False, True, True, False,
    ]  # fmt: skip
    found.check_sdk("0.9")
    with pytest.raises(InstallError, match=r"asks for vconnect <1, and this host has 2\.0"):
        found.check_sdk("2.0")


def test_what_is_locked_depends_on_what_is_declared_only(tmp_path: Path) -> None:
    one = declared(tmp_path, list="a\nb\n")
    other = declared(tmp_path, list="# sorted\nb\na\n")
    third = declared(tmp_path, list="a\nb>1\n")
    assert one is not None
    assert other is not None
    assert third is not None
    assert one.digest == other.digest != third.digest


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"project": "[project"}, "not valid TOML"),
        ({"project": '[project]\ndependencies = "a"\n'}, "is no list of texts"),
        ({"project": '[project]\ndependencies = ["a"]\nrequires-python = 3\n'}, "is no text"),
        ({"project": PROJECT + 'requires-python = "three"\n'}, "requires-python is 'three'"),
        ({"script": SCRIPT + SCRIPT}, "has 2 blocks"),
        ({"list": "a b\n"}, "'a b' is no requirement"),
        ({"list": "-r other.txt\n"}, "'-r other.txt' is an option"),
        ({"list": "--index-url https://x/\n"}, "is an option"),
        ({"list": "a @ https://x/a.whl\n"}, "has an address"),
        ({"list": "./a\n"}, "is no requirement"),
        ({"list": "a; nope == '1'\n"}, "is no requirement"),
        ({"list": "a; " + "(" * 400 + "\n"}, "is no requirement|nested"),
        ({"list": "a" * 2000 + "\n"}, "has more than 1000 characters"),
        ({"list": "a\n" * 1001}, "1001 dependencies; the limit is 1000"),
    ],
)
def test_what_cannot_be_locked_is_refused(tmp_path: Path, files, words: str) -> None:
    with pytest.raises(InstallError, match=words):
        declared(tmp_path, **files)


@pytest.mark.parametrize(
    "text",
    [
        "# /// script\n# a\n" * 40_000,
        "# /// script\n" + "#\n" * 300_000,
        "# /// script\n# dependencies = ['b']\n",  # never closed
    ],
)
def test_whatever_is_in_a_script_is_read_at_once(tmp_path: Path, text: str) -> None:
    assert declared(tmp_path, script=text) is None


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_bytes(b"\xff")
    with pytest.raises(InstallError, match="cannot be read"):
        read_declared(tmp_path)
    (tmp_path / "requirements.txt").write_bytes(b"#" * 1_100_000)
    with pytest.raises(InstallError, match="more than"):
        read_declared(tmp_path)
