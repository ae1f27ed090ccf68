"""``vconnect new`` and ``vconnect pack``, from an empty directory to a package."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path

import pytest

from vconnect.cli.boundary import run
from vconnect.cli.root import root
from vconnect.trust.files import read_public, read_signature
from vconnect.trust.signing import verify

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
    *listed, wrote, sha256, tree, following = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in listed[:-1]] == [
        "README.md",
        "plugin.json",
        "plugin.py",
        "test_plugin.py",
    ]
    assert all(" B  " in line or " kB  " in line for line in listed[:-1])
    assert listed[-1] == "left out by rules: .gitignore"
    assert wrote.startswith("wrote made.vp: 4 files, ")
    digest = hashlib.sha256(Path("made.vp").read_bytes()).hexdigest()
    assert sha256 == f"sha256 {digest} (in made.vp.sha256)"
    assert tree.startswith("tree   ")
    assert Path("made.vp.sha256").read_text() == f"{digest}  made.vp\n"
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
    assert (len(made["sha256"]), len(made["tree"]), made["signed"]) == (64, 64, None)


def test_many_files_are_listed_on_request(capsys: Printed) -> None:
    assert vconnect("new", "demo") == 0
    for number in range(120):
        Path(f"demo/{number}.txt").touch()
    capsys.readouterr()
    assert vconnect("pack", "demo") == 0
    assert "and 24 more files; all of them with: --list" in capsys.readouterr().out
    assert vconnect("pack", "demo", "--list") == 0
    listed = capsys.readouterr().out
    assert "more files" not in listed
    assert all(f"  {number}.txt\n" in listed for number in range(120))


def test_a_large_file_is_named(capsys: Printed) -> None:
    assert vconnect("new", "demo") == 0
    with Path("demo/model.bin").open("wb") as file:
        file.truncate(50 * 1024 * 1024 + 1)
    assert vconnect("pack", "demo") == 0
    assert capsys.readouterr().err == (
        "warning: model.bin has 52.4 MB; if it is not needed, leave it out with a line in "
        ".vpignore\n"
    )


def test_a_package_is_signed_at_once(capsys: Printed) -> None:
    assert vconnect("new", "demo") == 0
    Path("word").write_text("secret\n")
    assert vconnect("keygen", "me", "--password-file", "word") == 0
    capsys.readouterr()
    signing = ("--sign", "me.key", "--password-file", "word")
    assert vconnect("pack", "demo", *signing, "--json") == 0
    signed = json.loads(capsys.readouterr().out)["signed"]
    assert signed["signature"] == "demo-0.1.0.vp.minisig"
    with Path("demo-0.1.0.vp").open("rb") as file:
        verify(file, read_signature(Path(signed["signature"])), read_public(Path("me.pub")))
    # What is packed next is not what that signature is of.
    assert vconnect("pack", "demo") == 0
    assert "warning" not in capsys.readouterr().err
    Path("demo/more").touch()
    assert vconnect("pack", "demo") == 0
    assert capsys.readouterr().err == (
        "warning: demo-0.1.0.vp.minisig is of another package; sign this one, or remove it\n"
    )
    assert vconnect("pack", "demo", *signing) == 0
    assert "wrote demo-0.1.0.vp.minisig: vconnect 1 name=demo" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "exit_code"),
    [(("--sign", "none.key"), 8), (("--password-file", "x"), 2), (("--platform", "plan9", "x"), 1)],
)
def test_a_key_or_a_platform_that_cannot_be_used(
    options: tuple[str, ...], exit_code: int, capsys: Printed
) -> None:
    assert vconnect("new", "demo") == 0
    assert vconnect("pack", "demo", *options) == exit_code
    assert capsys.readouterr().err.count("\n") == 1
    assert list(Path().glob("*.vp*")) == []


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
