"""The routes for trusted keys, over a real server, with real keys and a real file."""

from __future__ import annotations

import asyncio
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from tests.support.fake_manager import FakeManager
from tests.support.web import Web, asking

from vconnect.settings.model import Settings
from vconnect.trust.keyring import Keyring
from vconnect.trust.minisign import SecretKey
from vconnect.trust.signing import generate, sign

pytest.importorskip("cryptography")


class Keys:
    """A host with a trust file, and two pairs of keys."""

    def __init__(self, path: Path) -> None:
        self.keyring = Keyring(path)
        self.manager = FakeManager(settings=Settings(trust_file=str(path)))
        self.ann, self.bob = generate(), generate()
        self.ann_id = self.ann.public_key().id
        self.bob_id = self.bob.public_key().id

    def ids(self) -> list[str]:
        """The numbers of the keys in the file."""
        return list(self.keyring.keys())


def text_of(key: SecretKey) -> str:
    return key.public_key().text()


def signature_of(text: str, key: SecretKey) -> str:
    return sign(BytesIO(text.encode()), key, "").text()


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "vconnect.trust")


async def trust(web: Web, **body: Any) -> dict[str, Any]:
    return await web("POST", "/api/trusted", json=body)


async def test_a_key_is_trusted_listed_and_forgotten(keys: Keys) -> None:
    async with asking(keys.manager) as web:
        assert (await web("GET", "/api/trusted"))["items"] == []
        added = await trust(
            web,
            key=text_of(keys.ann),
            plugins=["acme-*"],
            sources=["https://a/"],
            comment="Ann",
            not_after="2999-01-31",
        )
        assert [added[key] for key in ("id", "plugins", "comment")] == [
            *(keys.ann_id, ["acme-*"], "Ann")
        ]
        assert "over the administration socket" in added["by"]
        (listed,) = (await web("GET", "/api/trusted"))["items"]
        assert (listed["id"], listed["not_after"][:10]) == (keys.ann_id, "2999-01-31")
        gone = await web("DELETE", f"/api/trusted/{keys.ann_id.lower()}")
        assert gone["id"] == keys.ann_id
    assert keys.ids() == []


async def test_the_line_alone_is_a_key_too(keys: Keys) -> None:
    async with asking(keys.manager) as web:
        await trust(web, key=keys.ann.public_key().line())
    assert keys.ids() == [keys.ann_id]


async def test_a_revoked_key_stays_and_is_not_trusted_again(keys: Keys) -> None:
    async with asking(keys.manager) as web:
        await trust(web, key=text_of(keys.ann))
        one = f"/api/trusted/{keys.ann_id}"
        revoked = await web("DELETE", f"{one}?revoke=true&reason=stolen")
        assert revoked["revoked"]
        assert keys.keyring.find(keys.ann_id).reason == "stolen"
        problem = await web.problem("POST", "/api/trusted", 409, json={"key": text_of(keys.ann)})
        assert problem["code"] == "conflict"
        assert "stolen; it cannot be trusted again" in problem["detail"]


async def test_a_dry_run_changes_nothing(keys: Keys) -> None:
    async with asking(keys.manager) as web:
        assert (await trust(web, key=text_of(keys.ann), dry_run=True))["id"] == keys.ann_id
        assert keys.ids() == []
        await trust(web, key=text_of(keys.ann))
        await web("DELETE", f"/api/trusted/{keys.ann_id}?dry_run=true&revoke=true")
        assert keys.keyring.find(keys.ann_id).revoked is None


async def test_a_key_hands_over_to_the_one_that_it_has_signed(keys: Keys) -> None:
    text = text_of(keys.bob)
    async with asking(keys.manager) as web:
        await trust(web, key=text_of(keys.ann), plugins=["acme-*"])
        wanted = {"key": text, "succeeds": keys.ann_id}
        by_itself = signature_of(text, keys.bob)
        for signature, code, status in (
            ("", "bad_field", 400),
            ("no signature", "bad_field", 400),
            (by_itself, "signature_error", 422),
            (signature_of(text + " ", keys.ann), "signature_error", 422),
        ):
            body = {**wanted, "signature": signature}
            assert (await web.fails("POST", "/api/trusted", status, json=body))[0] == code
        assert keys.ids() == [keys.ann_id]
        added = await trust(web, **wanted, signature=signature_of(text, keys.ann))
    assert (added["succeeds"], added["plugins"]) == (keys.ann_id, ["acme-*"])


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("key", "no key", "the key"),
        ("not_after", "soon", "'soon' is no date"),
        ("not_after", "2020-01-01", "2020-01-01 is over"),
        ("plugins", "acme", "expected `array`"),
    ],
)
async def test_a_wrong_field_is_named(keys: Keys, field: str, value: str, words: str) -> None:
    body = {"key": text_of(keys.ann), field: value}
    async with asking(keys.manager) as web:
        problem = await web.problem("POST", "/api/trusted", 400, json=body)
    assert problem["errors"][0]["field"] == field
    assert words in problem["errors"][0]["detail"]
    assert problem["next"]
    assert keys.ids() == []


async def test_a_reason_is_only_for_a_revocation(keys: Keys) -> None:
    async with asking(keys.manager) as web:
        path = f"/api/trusted/{keys.ann_id}?reason=stolen"
        problem = await web.problem("DELETE", path, 400)
    assert problem["errors"] == [{"field": "reason", "detail": "is for revoke=true only"}]


async def test_a_key_that_nobody_trusts_is_not_found(keys: Keys) -> None:
    async with asking(keys.manager) as web:
        for method, path, options in (
            ("DELETE", "/api/trusted/AB%0A", {}),
            ("POST", "/api/trusted", {"json": {"key": text_of(keys.bob), "succeeds": "AB"}}),
        ):
            code, detail = await web.fails(method, path, 404, **options)
            assert code == "unknown_key"
            assert "'AB" in detail


async def test_two_keys_at_once_are_both_kept(keys: Keys) -> None:
    async with asking(keys.manager) as web:
        await asyncio.gather(*(trust(web, key=text_of(one)) for one in (keys.ann, keys.bob)))
    assert sorted(keys.ids()) == sorted([keys.ann_id, keys.bob_id])


async def test_a_host_without_a_trust_file_says_how_to_have_one() -> None:
    async with asking(FakeManager()) as web:
        assert (await web("GET", "/api/trusted"))["items"] == []
        problem = await web.problem("POST", "/api/trusted", 409, json={"key": "x"})
    assert (problem["code"], "trust_file" in problem["next"]) == ("conflict", True)


async def test_a_trust_file_that_cannot_be_read_is_left_alone(keys: Keys) -> None:
    keys.keyring.path.write_text("format = 99\n")
    async with asking(keys.manager) as web:
        for method, options in (("GET", {}), ("POST", {"json": {"key": text_of(keys.ann)}})):
            code, _ = await web.fails(method, "/api/trusted", 422, **options)
            assert code == "config_error"
    assert keys.keyring.path.read_text() == "format = 99\n"
