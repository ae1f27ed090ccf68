"""The table of signatures and policies: each case, both ways."""

from __future__ import annotations

import hashlib
import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from vconnect.errors import VerificationError
from vconnect.trust.keyring import TrustedKey
from vconnect.trust.minisign import PublicKey, SecretKey, Signature
from vconnect.trust.policy import Signer, Signing
from vconnect.trust.signing import generate, sign

pytest.importorskip("cryptography")

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
DIGEST = "ab" * 32
SHA256 = hashlib.sha256(b"the package").hexdigest()
OURS = f"vconnect 1 name=example version=1 sha256={DIGEST} time=2026-11-28T00:00:00Z"


@pytest.fixture(scope="module")
def secret() -> SecretKey:
    return generate()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    made = tmp_path / "example.vp"
    made.write_bytes(b"the package")
    return made


def trusted(secret: SecretKey, **fields: Any) -> TrustedKey:
    public = PublicKey(secret.number, secret.public)
    return TrustedKey(id=public.id, key=public.line(), **fields)


def signing(*keys: TrustedKey, required: bool = False, **fields: Any) -> Signing:
    known = {key.id: key for key in keys}
    return Signing(origin="/x.vp", place="/x.vp", keys=known, is_required=required, **fields)


def signed(secret: SecretKey, comment: str = OURS, content: bytes = b"the package") -> Signature:
    return sign(io.BytesIO(content), secret, comment)


def test_a_signature_makes_a_difference_only_where_keys_or_a_rule_are(secret: SecretKey) -> None:
    assert not signing().is_needed
    assert signing(required=True).is_needed
    assert signing(trusted(secret)).is_needed


@pytest.mark.parametrize("required", [False, True])
def test_a_package_without_a_signature(archive: Path, required: bool) -> None:
    policy = signing(required=required)
    if required:
        with pytest.raises(VerificationError, match=r"no signature \(not there\), and one is req"):
            policy.verify(archive, SHA256, None, "not there")
    else:
        assert policy.verify(archive, SHA256, None, "not there") is None
    assert policy.confirm(None, "example", "1", DIGEST, "") == ""
    with pytest.raises(VerificationError, match="is signed by AB in the lock file"):
        policy.confirm(None, "example", "1", DIGEST, "AB")


@pytest.mark.parametrize("required", [False, True])
def test_a_signature_of_somebody_unknown(archive: Path, secret: SecretKey, required: bool) -> None:
    policy = signing(required=required)
    if required:
        with pytest.raises(VerificationError, match="whom nobody trusts here"):
            policy.verify(archive, SHA256, signed(secret), "")
    else:
        assert policy.verify(archive, SHA256, signed(secret), "") is None


@pytest.mark.parametrize("required", [False, True])
def test_a_good_signature_counts(archive: Path, secret: SecretKey, required: bool) -> None:
    key = trusted(secret)
    policy = signing(key, required=required)
    signer = policy.verify(archive, SHA256, signed(secret), "")
    assert signer == Signer(key, OURS)
    assert policy.confirm(signer, "example", "1", DIGEST, "") == key.id
    assert policy.confirm(signer, "example", "1", DIGEST, key.id) == key.id


def test_a_changed_package_is_refused_whatever_the_policy(archive: Path, secret: SecretKey) -> None:
    archive.write_bytes(b"the Package")
    with pytest.raises(VerificationError, match="signature is not valid"):
        signing(trusted(secret)).verify(archive, SHA256, signed(secret), "")


@pytest.mark.parametrize(
    "fields",
    [
        {"revoked": datetime(2026, 1, 1, tzinfo=UTC)},
        {"not_after": datetime(2026, 1, 1, tzinfo=UTC)},
    ],
)
def test_a_key_that_has_ended_signs_nothing(archive: Path, secret: SecretKey, fields: Any) -> None:
    with pytest.raises(VerificationError, match="its signer"):
        signing(trusted(secret, **fields)).verify(archive, SHA256, signed(secret), "")


def test_only_some_keys_count_for_a_source(archive: Path, secret: SecretKey) -> None:
    with pytest.raises(VerificationError, match="only AB count"):
        signing(trusted(secret), allowed=("AB",)).verify(archive, SHA256, signed(secret), "")
    key = trusted(secret)
    assert signing(key, allowed=(key.id,)).verify(archive, SHA256, signed(secret), "")


@pytest.mark.parametrize(
    ("plugin", "version", "digest", "words"),
    [
        ("other", "1", DIGEST, "was signed as name=example, and this is name=other"),
        ("example", "2", DIGEST, "version=1"),
        ("example", "1", "cd" * 32, "sha256="),
    ],
)
def test_a_package_that_was_signed_as_another_is_no_substitute(
    secret: SecretKey, plugin: str, version: str, digest: str, words: str
) -> None:
    key = trusted(secret)
    with pytest.raises(VerificationError, match=words):
        signing(key).confirm(Signer(key, OURS), plugin, version, digest, "")


def test_a_plain_signature_of_minisign_needs_a_scope(secret: SecretKey) -> None:
    comment = "timestamp:1700000000\tfile:example.vp\thashed"
    for key in (trusted(secret), trusted(secret, plugins=("*",))):
        with pytest.raises(VerificationError, match="does not say that it is of example"):
            signing(key).confirm(Signer(key, comment), "example", "1", DIGEST, "")
    key = trusted(secret, plugins=("example",))
    assert signing(key).confirm(Signer(key, comment), "example", "1", DIGEST, "") == key.id
    with pytest.raises(VerificationError, match="may sign example, and this is other"):
        signing(key).confirm(Signer(key, comment), "other", "1", DIGEST, "")


def test_another_key_than_before_needs_a_succession(secret: SecretKey) -> None:
    old = trusted(generate())
    key = trusted(secret)
    with pytest.raises(VerificationError, match="--succeeds OLD"):
        signing(key, old).confirm(Signer(key, OURS), "example", "1", DIGEST, old.id)
    heir = trusted(secret, succeeds=old.id)
    assert signing(heir, old).confirm(Signer(heir, OURS), "example", "1", DIGEST, old.id) == key.id


def test_what_is_in_the_store_must_still_be_acceptable(secret: SecretKey) -> None:
    key = trusted(secret)
    signing().check_stored("example", "")
    signing(key, required=True).check_stored("example", key.id)
    for number in ("", "AB"):
        with pytest.raises(VerificationError, match="is required now"):
            signing(key, required=True).check_stored("example", number)
    revoked = trusted(secret, revoked=LONG_AGO)
    with pytest.raises(VerificationError, match="was revoked"):
        signing(revoked).check_stored("example", key.id)


def test_a_file_that_is_the_signed_one_for_a_moment_only_is_refused(
    archive: Path, secret: SecretKey
) -> None:
    with pytest.raises(VerificationError, match="was changed while it was read"):
        signing(trusted(secret)).verify(archive, DIGEST, signed(secret), "")
