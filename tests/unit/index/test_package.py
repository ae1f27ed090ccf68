"""What one package file is, and what its signature is worth."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.index_kit import put, sign, trusted
from tests.support.package_kit import write_package

from vconnect.errors import InstallError, VerificationError
from vconnect.index.package import PackageInfo, describe_package, with_signature
from vconnect.trust.minisign import SecretKey
from vconnect.trust.signing import generate

pytest.importorskip("cryptography")


def test_a_package_says_what_it_is(tmp_path: Path) -> None:
    path = put(
        tmp_path,
        "1.2",
        plugin_no="other",
        description="Says hello",
        permissions=["log"],
        requires=["users >=1"],
        min_host_version="0.1",
        platform="linux-arm64",
        interface="chat/2",
    )
    found = describe_package(path)
    assert (found.name, found.version, found.aliases) == ("example", "1.2", ("other",))
    assert (found.permissions, found.requires) == (("log",), ("users >=1",))
    assert (found.platform, found.min_host_version) == ("linux-arm64", "0.1")
    assert found.interface == ("chat/2",)
    assert found.size == path.stat().st_size
    assert [one.path for one in found.files] == ["plugin.json", "run"]
    assert len(found.sha256) == len(found.tree) == 64
    assert (found.signed_by, found.signature) == ("", "none")


@pytest.mark.parametrize(
    ("interface", "found"),
    [
        (["chat/2", "chat/1"], ("chat/2", "chat/1")),
        ("chat/1", ("chat/1",)),
    ],
)
def test_interfaces_are_passed_on_as_they_are(tmp_path: Path, interface, found) -> None:
    assert describe_package(put(tmp_path, "1", interface=interface)).interface == found


def test_another_platform_and_a_newer_host_are_no_mistake(tmp_path: Path) -> None:
    put(tmp_path, "1", platform="darwin-arm64", min_host_version="999")
    assert describe_package(next(tmp_path.glob("*.vp"))).min_host_version == "999"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"entry": "none"}, "entry is 'none', but the package has no such file"),
        ({"version": "a/b"}, "version"),
        ({"min_host_version": "soon"}, "min_host_version is 'soon'"),
        ({"config_schema": {"type": 1}}, "config_schema"),
        ({"name": "versions", "entry": "example"}, "cannot be a plugin's name"),
    ],
)
def test_what_could_be_installed_nowhere_is_refused(tmp_path: Path, fields, words: str) -> None:
    path = write_package(tmp_path / "a.vp", **fields)
    with pytest.raises(InstallError) as caught:
        describe_package(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert words in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"no package", None])
def test_what_is_no_package_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.vp"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InstallError, match=str(path)):
        describe_package(path)


def look(path: Path, *keys: SecretKey, **fields) -> PackageInfo:
    known = {one.id: one for one in (trusted(key, **fields) for key in keys)}
    return with_signature(describe_package(path), known if keys else None)


def test_a_signature_is_worth_what_is_known_of_its_key(tmp_path: Path, key: SecretKey) -> None:
    path = put(tmp_path, "1")
    assert look(path, key).signature == "none"
    sign(path, key)
    number = key.public_key().id
    words = {
        look(path, key).signature: look(path, key).signed_by,
        look(path).signature: look(path).signed_by,
        look(path, generate()).signature: number,
    }
    assert words == {
        "good": number,
        "not verified": number,
        "of a key that nobody trusts here": number,
    }


@pytest.mark.parametrize(
    ("comment", "fields", "words"),
    [
        ("vconnect 1 name=other version=1 sha256=x", {}, "it was signed as name=other"),
        ("", {"plugins": ("other",)}, "may sign other, and this is example"),
        ("", {"reason": "lost", "revoked": "2026-01-01T00:00:00Z"}, "was revoked"),
    ],
)
def test_a_signature_that_is_not_of_this_package(
    tmp_path: Path, key: SecretKey, comment: str, fields: dict, words: str
) -> None:
    from datetime import datetime

    if "revoked" in fields:
        fields = {**fields, "revoked": datetime.fromisoformat(fields["revoked"])}
    path = put(tmp_path, "1")
    sign(path, key, comment)
    with pytest.raises(VerificationError, match=words):
        look(path, key, **fields)


def test_a_damaged_signature_is_refused(tmp_path: Path, key: SecretKey) -> None:
    path = put(tmp_path, "1")
    sign(path, key)
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(InstallError):
        look(path, key)
    put(tmp_path, "1", mark="other")
    with pytest.raises(VerificationError, match="the signature is not valid"):
        look(path, key)
    path.with_name(path.name + ".minisig").write_text("no signature")
    with pytest.raises(VerificationError):
        look(path)
