"""Versions that do not fit are refused, with both plugins named."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.paper import plugin

from vconnect.errors import ConflictError
from vconnect.operations.requirements import check_versions
from vconnect.packages.manifest import Manifest
from vconnect.plugins.registry import Registry
from vconnect.store.offers import Offer


def registry(**manifests: dict[str, Any]) -> Registry:
    made = Registry()
    for name, fields in manifests.items():
        one = plugin(name)
        one.manifest = Manifest(name=name, **fields)
        made.add(one)
    return made


def offer(version: str, *requires: str) -> Offer:
    manifest = Manifest(name="chat", version=version, requires=requires)
    return Offer("chat", version, "ab" * 32, manifest=manifest)


def test_what_fits_is_taken() -> None:
    known = registry(users={"version": "1.5"}, bot={"requires": ("chat ^2",)})
    check_versions(offer("2.1", "users >=1.2 <2", "nobody ^3"), known)


def test_a_version_that_another_plugin_has_not_is_refused() -> None:
    with pytest.raises(ConflictError, match=r"chat 2 requires users \S+, and users 1\.5 is inst"):
        check_versions(offer("2", "users ^2"), registry(users={"version": "1.5"}))


def test_a_version_that_a_dependent_cannot_use_is_refused() -> None:
    known = registry(bot={"requires": ("chat ^1",)}, other={"requires": ("chat",)})
    with pytest.raises(ConflictError, match=r"does not fit what others require: bot requires chat"):
        check_versions(offer("2"), known)
