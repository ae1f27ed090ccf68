"""The commands for trust, with real files and keys."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vconnect.cli.boundary import run
from vconnect.cli.root import root

pytest.importorskip("cryptography")

Printed = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vconnect.toml").write_text("[plugins]\n")
    for name in ("ann", "bob"):
        assert vconnect("keygen", name, "--no-password") == 0
    return tmp_path


def vconnect(*arguments: str) -> int:
    return run(root, arguments)


def listed(capsys: Printed) -> list[dict]:
    capsys.readouterr()
    assert vconnect("trusted", "--json") == 0
    return json.loads(capsys.readouterr().out)["keys"]


def test_keys_are_trusted_listed_and_forgotten(here: Path, capsys: Printed) -> None:
    assert vconnect("trusted") == 0
    assert "has no keys" in capsys.readouterr().out
    assert vconnect("trust", "ann.pub", "--for", "acme-*", "--comment", "Ann") == 0
    line = Path("bob.pub").read_text().splitlines()[1]
    assert vconnect("trust", line, "--source", "https://a/", "--not-after", "2027-01-31") == 0
    ann, bob = listed(capsys)
    assert (ann["comment"], ann["plugins"]) == ("Ann", ["acme-*"])
    assert (bob["sources"], bob["not_after"][:10]) == (["https://a/"], "2027-01-31")
    assert vconnect("untrust", ann["id"]) == 0
    assert [key["id"] for key in listed(capsys)] == [bob["id"]]
    assert vconnect("untrust", bob["id"], "--revoke", "--reason", "stolen") == 0
    assert vconnect("trusted") == 0
    assert "stolen" in capsys.readouterr().out
    assert vconnect("trust", "bob.pub") == 2


def test_a_known_key_keeps_its_limits_and_says_so(here: Path, capsys: Printed) -> None:
    vconnect("trust", "ann.pub", "--for", "acme-*", "--source", "https://a/")
    assert vconnect("trust", "ann.pub", "--comment", "Ann", "--dry-run") == 0
    assert "would be trusted" in capsys.readouterr().out
    assert listed(capsys)[0]["comment"] != "Ann"
    assert vconnect("trust", "ann.pub", "--comment", "Ann") == 0
    assert "it counts for acme-* from https://a/" in capsys.readouterr().out
    (ann,) = listed(capsys)
    assert (ann["comment"], ann["plugins"], ann["sources"]) == ("Ann", ["acme-*"], ["https://a/"])


@pytest.mark.parametrize("options", [["--revoke"], []])
def test_a_key_that_would_be_forgotten_is_not(
    here: Path, capsys: Printed, options: list[str]
) -> None:
    vconnect("trust", "ann.pub")
    (ann,) = listed(capsys)
    assert vconnect("untrust", ann["id"], "--dry-run", *options) == 0
    assert "would be" in capsys.readouterr().out
    assert listed(capsys) == [ann]
    assert vconnect("untrust", "F" * 16, "--dry-run", *options) == 2


def test_a_key_hands_over_with_its_signature(here: Path, capsys: Printed) -> None:
    vconnect("trust", "ann.pub")
    (ann,) = listed(capsys)
    assert vconnect("trust", "bob.pub", "--succeeds", ann["id"]) != 0  # bob.pub is not signed
    assert vconnect("sign", "bob.pub", "--key", "bob.key") == 0
    assert vconnect("trust", "bob.pub", "--succeeds", ann["id"]) != 0  # not by ann
    assert len(listed(capsys)) == 1
    assert vconnect("sign", "bob.pub", "--key", "ann.key") == 0
    assert vconnect("trust", "bob.pub", "--succeeds", ann["id"]) == 0
    assert listed(capsys)[1]["succeeds"] == ann["id"]


def test_a_date_in_the_past_is_refused(here: Path, capsys: Printed) -> None:
    assert vconnect("trust", "ann.pub", "--not-after", "2020-01-01") == 2
    assert "is over" in capsys.readouterr().err
    assert vconnect("trust", "ann.pub", "--not-after", "2999-01-01") == 0
    assert "until 2999-01-01" in capsys.readouterr().out


def test_mistakes_are_told(here: Path, capsys: Printed) -> None:
    assert vconnect("trust", "none.pub") != 0
    assert vconnect("trust", "no key") != 0
    assert vconnect("untrust", "AB") == 2
    assert vconnect("untrust", "AB", "--reason", "x") == 2
    assert vconnect("trust", "ann.pub", "--not-after", "soon") == 2
    Path("vconnect.toml").unlink()
    capsys.readouterr()
    assert vconnect("trusted") == 2
    assert "there is no trust file" in capsys.readouterr().err
    assert vconnect("trusted", "--file", "other.trust") == 0
