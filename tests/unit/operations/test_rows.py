"""Rows about packages."""

from __future__ import annotations

from pathlib import Path

from vconnect.errors import ConsentRequiredError
from vconnect.operations.rows import change_of, gone, preview, waits_for_consent
from vconnect.store.layout import InstalledVersion
from vconnect.store.offers import Offer

OLD = InstalledVersion("example", "1", "abc", Path("/p/example/versions/1+abc"))
OFFER = Offer("example", "2", "def")


def test_a_change_has_both_versions_and_the_digest_of_the_later() -> None:
    made = change_of("upgrade", "example", None, OLD, "switched")
    assert (made.before, made.after, made.digest) == ("", "1", "abc")
    assert [(one.name, one.result) for one in gone({"b", "a"})] == [("a", "gone"), ("b", "gone")]


def test_a_preview_says_whether_anything_would_change() -> None:
    planned = preview("install", OFFER, OLD, ("log",))
    assert (planned.result, planned.before, planned.after) == ("planned", "1", "2")
    assert planned.permissions == ("log",)
    assert preview("install", Offer("example", "1", "abc"), OLD, ()).result == "unchanged"


def test_what_waits_for_consent_names_the_package() -> None:
    row = waits_for_consent("install", OFFER, OLD, ConsentRequiredError("no", ("log",)))
    assert (row.name, row.before, row.after, row.digest) == ("example", "1", "2", "def")
    assert (row.result, row.code, row.permissions) == ("failed", "consent_required", ("log",))
