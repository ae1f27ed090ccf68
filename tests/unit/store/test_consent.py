"""Which permissions are new, and which are granted."""

from __future__ import annotations

import pytest

from vconnect.errors import ConfigError, ConsentRequiredError
from vconnect.store.consent import (
    EVERYTHING,
    Before,
    configured_grant,
    consent_before,
    decide,
    new_permissions,
)
from vconnect.store.lock_file import Locked

FIRST = Before()
LATER = Before(asked=frozenset(["log", "kept.back"]), granted=frozenset(["log"]))


@pytest.mark.parametrize(
    ("asked", "before", "grant", "granted"),
    [
        ((), FIRST, None, ()),
        (("log",), FIRST, EVERYTHING, ("log",)),
        (("log", "a.b"), FIRST, ["a.b"], ("a.b",)),
        (("log",), LATER, None, ("log",)),
        (("a.b",), LATER, EVERYTHING, ("a.b",)),
        # What was not granted before is not asked about again, and not granted by --yes.
        (("log", "kept.back"), LATER, None, ("log",)),
        (("log", "kept.back", "a.b"), LATER, EVERYTHING, ("log", "a.b")),
        (("log", "kept.back"), LATER, ["kept.back"], ("log", "kept.back")),
        (("*",), FIRST, EVERYTHING, ("*",)),
        (("log", "a.b"), FIRST, [], ()),
    ],
)
def test_what_is_granted(asked, before, grant, granted) -> None:
    assert decide("example", "2", asked, before, grant) == granted


def test_something_new_needs_consent() -> None:
    with pytest.raises(ConsentRequiredError) as caught:
        decide("example", "2", ("log", "a.b"), LATER, None)
    assert caught.value.permissions == ("a.b",)
    assert str(caught.value).startswith("example 2 asks for new permissions: a.b; ")
    with pytest.raises(ConsentRequiredError, match=r"asks for permissions: log, a\.b"):
        decide("example", "1", ("log", "a.b"), FIRST, None)


def test_only_what_is_asked_for_can_be_granted() -> None:
    with pytest.raises(ConfigError, match=r"does not ask for a\.c; it asks for log"):
        decide("example", "1", ("log",), FIRST, ["log", "a.c"])


def test_the_lock_file_counts_on_another_machine() -> None:
    before = consent_before(None, Locked(name="example", version="1", permissions=("log",)))
    assert decide("example", "1", ("log",), before, None) == ("log",)
    assert new_permissions(("log", "a.b"), before) == ("a.b",)
    assert consent_before(None, None) == FIRST


@pytest.mark.parametrize(
    ("before", "consent", "granted"),
    [
        (FIRST, "ask", EVERYTHING),
        (LATER, "ask", None),
        (LATER, "allow", EVERYTHING),
    ],
)
def test_the_configuration_grants_the_first_version_what_it_asks_for(
    before, consent, granted
) -> None:
    assert configured_grant(before, consent) == granted
