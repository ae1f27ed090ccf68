"""What a host asks of signatures, and where they are found."""

from __future__ import annotations

from pathlib import Path

import pytest

from vconnect.errors import VerificationError
from vconnect.packages.source import parse_source
from vconnect.settings.model import Settings, SourceOptions
from vconnect.store.signatures import Signatures, _beside, fetch_signature, signatures_of


@pytest.mark.parametrize(
    ("source", "required", "allowed"),
    [
        ("/x.vp", True, ()),
        ("https://a/x.vp", False, ()),
        ("https://a/b/x.vp", True, ("AB",)),
        ("https://ann:secret@A/b/x.vp?token=1", True, ("AB",)),
        ("https://a.evil/b/x.vp", True, ()),
        ("https://a/bb/x.vp", False, ()),
        ("/strict/x.vp", True, ("CD",)),
        ("file:///strict/x.vp", True, ("CD",)),
        ("/stricter/x.vp", True, ()),
    ],
)
def test_the_longest_beginning_of_a_source_decides(source, required, allowed) -> None:
    sources = {
        "https://a/": SourceOptions(require_signature=False),
        "HTTPS://a/b": SourceOptions(keys=("AB",)),
        "/strict": SourceOptions(keys=("CD",)),
    }
    made = signatures_of(Settings(require_signature=True, sources=sources))
    policy = made.policy_for(parse_source(source))
    assert (policy.is_required, policy.allowed, policy.keys) == (required, allowed, {})


def test_by_default_nothing_is_asked() -> None:
    assert not Signatures().policy_for(parse_source("/x.vp")).is_needed


def test_a_signature_is_beside_its_package_with_the_same_query() -> None:
    beside = _beside(parse_source("https://a/x.vp?token=1"))
    assert beside.text == "https://a/x.vp.minisig?token=1"
    assert beside.shown == "https://a/x.vp.minisig"


async def test_no_signature_is_told_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    package = tmp_path / "x.vp"
    package.touch()
    source = parse_source(str(package))
    found = await fetch_signature(source, package, tmp_path, allow_insecure_http=False)
    assert found.signature is None
    assert found.why_none == f"{package}.minisig is not there"
    Path(f"{package}.minisig").write_text("no signature")
    with pytest.raises(VerificationError):
        await fetch_signature(source, package, tmp_path, allow_insecure_http=False)
