"""Signatures between vconnect and Debian's own minisign, in both directions."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from vconnect.cli.boundary import run
from vconnect.cli.root import root
from vconnect.errors import SignatureError
from vconnect.trust.files import read_public, read_secret, read_signature
from vconnect.trust.passwords import unseal
from vconnect.trust.signing import verify

pytestmark = pytest.mark.skipif(shutil.which("minisign") is None, reason="needs minisign")

DATA = b"anything" * 100_000


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_bytes(DATA)
    Path("password").write_text("a password\n")


def vconnect(*arguments: str) -> None:
    assert run(root, arguments) == 0


def minisign(*arguments: str, said: str = "") -> subprocess.CompletedProcess[str]:
    command = ["minisign", *arguments]
    return subprocess.run(command, input=said, text=True, capture_output=True, timeout=50)


def verified(public: str) -> None:
    with Path("file").open("rb") as file:
        verify(file, read_signature(Path("file.minisig")), read_public(Path(public)))


@pytest.mark.parametrize("options", [["--no-password"], ["--password-file", "password"]])
def test_it_verifies_ours(options: list[str]) -> None:
    vconnect("keygen", "ours", *options)
    password = [] if "--no-password" in options else options
    vconnect("sign", "file", "--key", "ours.key", *password)
    public = read_public(Path("ours.pub"))
    for key in (["-p", "ours.pub"], ["-P", public.line()]):
        done = minisign("-V", "-m", "file", *key)
        assert done.returncode == 0, done.stderr
        assert "Signature and comment signature verified" in done.stdout
        assert "Trusted comment: vconnect 1 file=file sha256=" in done.stdout
    Path("file").write_bytes(DATA[:-1] + b"x")
    assert minisign("-V", "-m", "file", "-p", "ours.pub").returncode == 1


@pytest.mark.parametrize("options", [["--no-password"], ["--password-file", "password"]])
def test_it_signs_with_our_key(options: list[str]) -> None:
    vconnect("keygen", "ours", *options)
    done = minisign("-S", "-m", "file", "-s", "ours.key", said="a password\n")
    assert done.returncode == 0, done.stderr
    verified("ours.pub")


# Its keys with a password take seconds and a gigabyte each time; signing with one runs always.
@pytest.mark.parametrize("has_password", [False, pytest.param(True, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("kind", [[], ["-l"], ["-t", "what it is"]])
def test_we_verify_its(has_password: bool, kind: list[str]) -> None:
    said = "a password\na password\n" if has_password else ""
    made = minisign(
        *("-G", "-p", "its.pub", "-s", "its.key"), *([] if has_password else ["-W"]), said=said
    )
    assert made.returncode == 0, made.stderr
    done = minisign("-S", "-m", "file", "-s", "its.key", *kind, said=said)
    assert done.returncode == 0, done.stderr
    verified("its.pub")
    signature = read_signature(Path("file.minisig"))
    assert signature.is_prehashed is (kind != ["-l"])
    if "-t" in kind:
        assert signature.trusted_comment == "what it is"
    Path("file").write_bytes(DATA[:-1] + b"x")
    with pytest.raises(SignatureError, match="is not valid"):
        verified("its.pub")


@pytest.mark.parametrize("has_password", [False, True])
def test_we_sign_with_its_key(has_password: bool, capsys: pytest.CaptureFixture[str]) -> None:
    said = "a password\na password\n" if has_password else ""
    options = [] if has_password else ["-W"]
    minisign("-G", "-p", "its.pub", "-s", "its.key", *options, said=said)
    assert unseal(read_secret(Path("its.key")), "a password" if has_password else "")
    password = ["--password-file", "password"] if has_password else []
    vconnect("sign", "file", "--key", "its.key", *password, "--json")
    [signed] = json.loads(capsys.readouterr().out)["signed"]
    assert signed["signature"] == "file.minisig"
    assert minisign("-V", "-m", "file", "-p", "its.pub").returncode == 0


def test_the_number_of_a_key_is_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    made = minisign("-G", "-W", "-p", "its.pub", "-s", "its.key")
    assert made.returncode == 0
    assert read_public(Path("its.pub")).comment.endswith(read_public(Path("its.pub")).id)
