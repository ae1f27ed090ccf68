"""What is refused about a package that could be installed."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.package_kit import SCRIPT

from vconnect.errors import InstallError, VerificationError
from vconnect.packages.manifest import Manifest
from vconnect.packages.semver import parse_range
from vconnect.packages.source import parse_source
from vconnect.packages.wanted import Wanted
from vconnect.store.offers import Offer, check_contents, check_digest, check_found


def test_what_it_asks_for() -> None:
    assert Offer("x", "1", "ab").asked == ()
    manifest = Manifest(name="x", permissions=("log",))
    assert Offer("x", "1", "ab", manifest=manifest).asked == ("log",)


def test_another_digest_is_refused() -> None:
    check_digest(parse_source("/x.vp"), "0" * 64)
    source = parse_source(f"/x.vp#sha256={'1' * 64}")
    check_digest(source, "1" * 64)
    with pytest.raises(VerificationError, match="was asked for"):
        check_digest(source, "0" * 64)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"version": "1/2"}, "expected one without"),
        ({"config_schema": {"type": "thing"}}, "config_schema"),
        ({"entry": "missing"}, "could not be started"),
    ],
)
def test_contents_that_could_be_installed_nowhere(tmp_path: Path, fields, words: str) -> None:
    (tmp_path / "run").write_bytes(SCRIPT)
    (tmp_path / "run").chmod(0o755)
    check_contents(Manifest(name="x"), tmp_path, "x.vp")
    with pytest.raises(InstallError, match=words):
        check_contents(Manifest(name="x", **fields), tmp_path, "x.vp")


def test_what_an_index_has_called_otherwise_is_refused() -> None:
    wanted = Wanted(name="x", versions=parse_range("*"), version="1", index="https://x/")
    check_found(wanted, Offer("x", "1", "ab"))
    for offer in (Offer("y", "1", "ab"), Offer("x", "2", "ab")):
        with pytest.raises(VerificationError, match="leads to"):
            check_found(wanted, offer)
