"""What is said of a key that is to be trusted, and what its predecessor must have signed."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from io import BytesIO

import pytest

from vconnect.errors import ConfigError, SignatureError
from vconnect.trust.adding import check_succession, describe_key, parse_not_after
from vconnect.trust.keyring import TrustedKey
from vconnect.trust.minisign import PublicKey
from vconnect.trust.signing import generate, sign

pytest.importorskip("cryptography")

NEW = PublicKey(bytes([2] * 8), bytes(32), "Ann's new one")


def trusted(public: PublicKey, **fields: object) -> TrustedKey:
    return TrustedKey(id=public.id, key=public.line(), **fields)  # type: ignore[arg-type]


OLD = trusted(PublicKey(bytes([1] * 8), bytes(32)), plugins=("acme-*",), sources=("https://a/",))


def test_a_key_has_the_comment_of_its_file_and_counts_for_all() -> None:
    key = describe_key(NEW, by="ann")
    assert (key.id, key.by, key.comment) == (NEW.id, "ann", "Ann's new one")
    assert (key.plugins, key.sources, key.succeeds) == ((), (), "")
    assert key.added is not None
    assert datetime.now(UTC) - key.added < timedelta(minutes=1)


def test_a_successor_may_sign_what_its_predecessor_may_unless_it_is_said() -> None:
    key = describe_key(NEW, by="ann", predecessor=OLD)
    assert (key.plugins, key.sources, key.succeeds) == (OLD.plugins, OLD.sources, OLD.id)
    key = describe_key(NEW, by="ann", plugins=["other"], predecessor=OLD)
    assert (key.plugins, key.sources) == (("other",), OLD.sources)


def test_only_the_signature_of_the_old_key_hands_over() -> None:
    secret, content = generate(), b"the new key's file"
    old = trusted(secret.public_key())
    signature = sign(BytesIO(content), secret, "")
    check_succession(old, BytesIO(content), signature)
    with pytest.raises(SignatureError, match="not valid"):
        check_succession(old, BytesIO(content + b"."), signature)
    with pytest.raises(SignatureError, match="expected"):
        check_succession(OLD, BytesIO(content), signature)


def test_a_revoked_key_hands_over_to_none() -> None:
    secret = generate()
    old = trusted(secret.public_key(), revoked=datetime(2026, 1, 2, tzinfo=UTC))
    with pytest.raises(ConfigError, match="was revoked on 2026-01-02; it cannot hand over"):
        check_succession(old, BytesIO(b"x"), sign(BytesIO(b"x"), secret, ""))


def test_a_date_without_a_zone_is_in_utc() -> None:
    assert parse_not_after("2999-01-31") == datetime(2999, 1, 31, tzinfo=UTC)
    assert parse_not_after("2999-01-31T00:00+01:00") == datetime(2999, 1, 30, 23, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "words"), [("soon", "'soon' is no date"), ("2020-01-01", "2020-01-01 is over")]
)
def test_another_date_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        parse_not_after(text)
