"""Whether a package fits the plugins that are there: their versions, and their names."""

from __future__ import annotations

from collections.abc import Iterable

from vconnect.errors import ConflictError
from vconnect.names import look_alike
from vconnect.plugins.registry import Registry
from vconnect.store.offers import Offer


def check_versions(offer: Offer, registry: Registry) -> None:
    """Refuse a version that does not fit those that are installed.

    A plugin that is not there at all may come later, and is waited for at the start.

    Args:
        offer: What would be installed.
        registry: The plugins.

    Raises:
        ConflictError: It requires another version of a plugin, or another plugin requires another
            version of it.
    """
    wanted = offer.manifest.required_versions if offer.manifest is not None else {}
    for name, versions in wanted.items():
        other = registry.find(name)
        if other is None or other.manifest is None:
            continue
        if not versions.takes(other.manifest.version):
            raise ConflictError(
                f"{offer.plugin} {offer.version} requires {name} {versions}, and {name} "
                f"{other.manifest.version or 'without a version'} is installed; upgrade that first"
            )
    broken = list(_broken_by(offer, registry))
    if broken:
        raise ConflictError(
            f"{offer.plugin} {offer.version} does not fit what others require: {'; '.join(broken)}"
        )


def check_similar_names(offer: Offer, registry: Registry) -> None:
    """Refuse a new plugin whose name people would take for that of another one.

    Args:
        offer: What would be installed.
        registry: The plugins.

    Raises:
        ConflictError: It has such a name.
    """
    names = offer.manifest.names if offer.manifest is not None else {offer.plugin}
    for other in registry:
        for known in other.aliases():
            for name in names:
                if name != known and look_alike(name) == look_alike(known):
                    raise ConflictError(
                        f"{offer.plugin}: the name {name} looks like {known}, which {other.name} "
                        "has; if that is meant, use --allow-similar"
                    )


def _broken_by(offer: Offer, registry: Registry) -> Iterable[str]:
    """Describe the requirements that a version does not meet, and its predecessor did."""
    for other in registry:
        required = other.manifest.required_versions if other.manifest is not None else {}
        for name, versions in required.items():
            if registry.meant_by(name) != offer.plugin or versions.takes(offer.version):
                continue
            yield f"{other.name} requires {offer.plugin} {versions}"
