"""Rows about packages: what was, would be or was not done."""

from __future__ import annotations

import msgspec

from vconnect.errors import ConsentRequiredError
from vconnect.store.layout import InstalledVersion
from vconnect.store.offers import Offer

from .changes import Change, Outcome, failure


def change_of(
    action: str,
    name: str,
    before: InstalledVersion | None,
    after: InstalledVersion | None,
    result: Outcome,
) -> Change:
    """Describe a change from one version to another."""
    return Change(
        name=name,
        action=action,
        before=before.version if before is not None else "",
        after=after.version if after is not None else "",
        digest=after.digest if after is not None else "",
        result=result,
    )


def preview(
    action: str, offer: Offer, before: InstalledVersion | None, permissions: tuple[str, ...]
) -> Change:
    """Describe what an installation would do."""
    same = before is not None and before.digest == offer.digest
    return Change(
        name=offer.plugin,
        action=action,
        before=before.version if before is not None else "",
        after=offer.version,
        digest=offer.digest,
        result="unchanged" if same else "planned",
        permissions=permissions,
    )


def waits_for_consent(
    action: str, offer: Offer, before: InstalledVersion | None, error: ConsentRequiredError
) -> Change:
    """Describe an installation that was refused for its permissions; it names the package."""
    return msgspec.structs.replace(
        failure(action, offer.plugin, error),
        before=before.version if before is not None else "",
        after=offer.version,
        digest=offer.digest,
    )


def noted(change: Change, notes: tuple[str, ...]) -> Change:
    """Add to a change what the operator should know about its package."""
    words = "; ".join(filter(None, (change.reason, *notes)))
    return msgspec.structs.replace(change, reason=words)


def gone(names: set[str]) -> list[Change]:
    """Describe plugins whose directories are gone."""
    return [change_of("rescan", name, None, None, "gone") for name in sorted(names)]
