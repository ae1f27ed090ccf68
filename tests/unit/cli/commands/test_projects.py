"""``vconnect new`` and ``vconnect pack``, from an empty directory to a package."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from vconnect.cli.boundary import run
from vconnect.cli.root import root

pytestmark = pytest.mark.usefixtures("clean_surroundings")

Printed = pytest.CaptureFixture[str]


def vconnect(*arguments: str) -> int:
    return run(root, arguments)


@pytest.mark.parametrize(("language", "source"), [("python", "plugin.py"), ("rust", "Cargo.toml")])
def test_a_new_project_is_written(language: str, source: str, capsys: Printed) -> None:
    assert vconnect("new", "wk.plugin.demo", "--lang", language) == 0
    out = capsys.readouterr().out
    assert f"wrote demo/{source}\n" in out
    assert out.endswith("next: vconnect serve --dev demo:demo\n")
    assert Path("demo", source).is_file()


def test_pack_says_what_it_made(capsys: Printed) -> None:
    assert vconnect("new", "demo") == 0
    capsys.readouterr()
    assert vconnect("pack", "demo", "-o", "made.vp") == 0
    *listed, wrote, following = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in listed[:-1]] == [
        "README.md",
        "plugin.json",
        "plugin.py",
        "test_plugin.py",
    ]
    assert all(" B  " in line or " kB  " in line for line in listed[:-1])
    assert listed[-1] == "left out by rules: .gitignore"
    assert wrote.startswith("wrote made.vp: 4 files, ")
    assert following == "next: vconnect serve --install made.vp"
    with tarfile.open("made.vp") as package:
        assert any(name.endswith("plugin.json") for name in package.getnames())


def test_pack_says_what_it_left_out(capsys: Printed) -> None:
    assert vconnect("new", "demo") == 0
    Path("demo/.env").write_text("TOKEN=1")
    capsys.readouterr()
    assert vconnect("pack", "demo") == 0
    assert capsys.readouterr().err == (
        "left out: .env looks like a secret; to pack it: --include .env\n"
    )
    assert vconnect("pack", "demo", "--include", ".env", "--json") == 0
    made = json.loads(capsys.readouterr().out)
    assert made["path"] == "demo-0.1.0.vp"
    assert {"path": ".env", "size_bytes": 7} in made["files"]
    assert [left["path"] for left in made["left_out"]] == [".gitignore"]


def test_new_goes_where_it_is_told(capsys: Printed) -> None:
    assert vconnect("new", "demo", "--dir", "deep/er") == 0
    assert Path("deep/er/plugin.py").is_file()
    assert capsys.readouterr().out.endswith("next: vconnect serve --dev demo:deep/er\n")


@pytest.mark.parametrize(
    ("arguments", "exit_code", "words"),
    [
        (("new", "bad/name"), 2, "the name is 'bad/name'; expected"),
        (("new", "taken"), 2, "taken is not empty"),
        (("pack", "nowhere"), 1, "nowhere: not a directory"),
        (("pack", "taken"), 2, "plugin.json"),
        (("pack", "wrong"), 2, "wrong/plugin.json: $.name: expected `str`, got `int`"),
        (("pack", "taken", "--include", "none"), 2, "plugin.json"),
    ],
)
def test_mistakes_are_one_line(
    arguments: tuple[str, ...], exit_code: int, words: str, capsys: Printed
) -> None:
    Path("taken").mkdir()
    Path("taken/file").touch()
    Path("wrong").mkdir()
    Path("wrong/plugin.json").write_text('{"name": 5}')
    assert vconnect(*arguments) == exit_code
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert words in err
    assert err.count("\n") == 1


def test_a_package_is_named_after_its_manifest(capsys: Printed) -> None:
    assert vconnect("new", "demo") == 0
    assert vconnect("pack", "demo") == 0
    (made,) = Path().glob("*.vp")
    assert made.name.startswith("demo-")
    assert f"wrote {made}: " in capsys.readouterr().out


def test_a_directory_that_steers_a_terminal_is_shown_as_escapes(capsys: Printed) -> None:
    assert vconnect("new", "demo", "--dir", "a\x1b[2J\nb") == 0
    out = capsys.readouterr().out
    assert r"wrote a\x1b[2J\nb/plugin.py" in out
    assert "\x1b" not in out


def test_nothing_is_written_where_something_is(capsys: Printed) -> None:
    Path("taken").write_text("precious")
    assert vconnect("new", "demo", "--dir", "taken") == 2
    assert "exists and is not a directory" in capsys.readouterr().err
    assert Path("taken").read_text() == "precious"


@pytest.mark.parametrize("arguments", [("new",), ("pack",), ("pack", "file"), ("new", "a", "b")])
def test_wrong_usage(arguments: tuple[str, ...], capsys: Printed) -> None:
    Path("file").touch()
    assert vconnect(*arguments) == 2
    assert capsys.readouterr().err.startswith("error: ")
