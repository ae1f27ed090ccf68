"""``vconnect keygen`` and ``vconnect sign``, as a person uses them."""

from __future__ import annotations

import json
import os
import stat
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


@pytest.fixture
def package(capsys: Printed) -> Path:
    assert vconnect("new", "demo") == 0
    assert vconnect("pack", "demo", "-o", "demo.vp") == 0
    assert vconnect("keygen", "me", "--no-password") == 0
    capsys.readouterr()
    return Path("demo.vp")


def test_a_pair_of_keys(capsys: Printed) -> None:
    before = os.umask(0)
    try:
        assert vconnect("keygen", "me", "--no-password", "--comment", "Ann") == 0
    finally:
        os.umask(before)
    public = read_public(Path("me.pub"))
    assert public.comment == "Ann"
    assert stat.S_IMODE(Path("me.key").stat().st_mode) == 0o600
    assert stat.S_IMODE(Path("me.pub").stat().st_mode) == 0o644
    assert capsys.readouterr().out == (
        f"wrote me.key (secret) and me.pub\nkey {public.id}: {public.line()}\n"
        "next: vconnect sign FILE --key me.key\n"
    )


def test_as_json_it_has_no_secret(capsys: Printed) -> None:
    assert vconnect("keygen", "--no-password", "--json") == 0
    made = json.loads(capsys.readouterr().out)
    public = read_public(Path("vconnect.pub"))
    expected = {"id": public.id, "key": public.line()}
    assert made == {**expected, "secret": "vconnect.key", "public": "vconnect.pub"}


@pytest.mark.parametrize("there", ["me.key", "me.pub"])
def test_no_key_is_overwritten(there: str, capsys: Printed) -> None:
    Path(there).write_text("mine")
    assert vconnect("keygen", "me", "--no-password") == 8
    assert f"{there} exists already" in capsys.readouterr().err
    assert [path.name for path in Path().iterdir()] == [there]
    assert Path(there).read_text() == "mine"


def test_a_directory_that_is_not_there_is_said(capsys: Printed) -> None:
    assert vconnect("keygen", "nowhere/me", "--no-password") == 8
    assert "cannot write nowhere/me.key: No such file or directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options", [["--no-password", "--password-file", "x"], ["--comment", "a\nb"]]
)
def test_what_cannot_be_wanted(options: list[str], capsys: Printed) -> None:
    assert vconnect("keygen", "me", *options) in (2, 8)
    assert list(Path().iterdir()) == []


def test_a_package_is_signed_with_what_it_is(package: Path, capsys: Printed) -> None:
    assert vconnect("sign", "demo.vp", "--key", "me.key") == 0
    signature = read_signature(Path("demo.vp.minisig"))
    with package.open("rb") as file:
        verify(file, signature, read_public(Path("me.pub")))
    assert signature.trusted_comment.startswith("vconnect 1 name=demo version=0.1.0 sha256=")
    assert stat.S_IMODE(Path("demo.vp.minisig").stat().st_mode) == 0o644
    out = capsys.readouterr().out
    assert out == f"wrote demo.vp.minisig: {signature.trusted_comment}\n"


def test_several_files_at_once(package: Path, capsys: Printed) -> None:
    Path("notes").write_text("x")
    assert vconnect("sign", "demo.vp", "notes", "--key", "me.key", "--json") == 0
    signed = json.loads(capsys.readouterr().out)["signed"]
    assert [one["file"] for one in signed] == ["demo.vp", "notes"]
    assert signed[1]["trusted_comment"].startswith("vconnect 1 file=notes sha256=")


def test_what_is_no_package_is_not_signed_as_one(package: Path, capsys: Printed) -> None:
    Path("broken.vp").write_bytes(package.read_bytes()[:-20])
    assert vconnect("sign", "broken.vp", "--key", "me.key") == 1
    assert "broken.vp" in capsys.readouterr().err
    assert not Path("broken.vp.minisig").exists()


def test_a_key_that_others_may_read_is_told(package: Path, capsys: Printed) -> None:
    Path("me.key").chmod(0o640)
    assert vconnect("sign", "demo.vp", "--key", "me.key") == 0
    assert capsys.readouterr().err == "warning: others may read me.key; use: chmod 600 me.key\n"


@pytest.mark.parametrize("key", ["me.pub", "demo.vp", "none", "demo"])
def test_what_is_no_key_is_said(package: Path, key: str, capsys: Printed) -> None:
    assert vconnect("sign", "demo.vp", "--key", key) in (2, 8)
    assert key in capsys.readouterr().err
    assert not Path("demo.vp.minisig").exists()


@pytest.mark.parametrize(("password", "code"), [("right", 0), ("wrong", 8), ("", 2)])
def test_a_password(password: str, code: int, capsys: Printed) -> None:
    Path("right").write_text("right\n")
    Path("given").write_text(f"{password}\n")
    Path("file").write_text("x")
    assert vconnect("keygen", "me", "--password-file", "right") == 0
    assert vconnect("sign", "file", "--key", "me.key", "--password-file", "given") == code
    told = capsys.readouterr()
    assert "right" not in told.out + told.err.replace("expected", "")
    assert Path("file.minisig").exists() is (code == 0)


def test_a_pipe_is_not_waited_for(package: Path, capsys: Printed) -> None:
    os.mkfifo("pipe")
    assert vconnect("sign", "pipe", "--key", "me.key") == 1
    assert "not a regular file" in capsys.readouterr().err


def test_keys_need_a_name(capsys: Printed) -> None:
    assert vconnect("keygen", "", "--no-password") == 2
    assert "NAME is empty" in capsys.readouterr().err
