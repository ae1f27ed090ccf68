"""Supervisors on paper for the tests of this folder."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support.stage import Stage, closed

from vconnect.plugins.runtime import PluginRuntime


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    made = Stage()
    yield made
    await closed(made)


@pytest.fixture
async def stages() -> AsyncIterator[Any]:
    """Make stages with options of the test's."""
    made: list[Stage] = []

    def make(runtime: PluginRuntime | None = None, **options: Any) -> Stage:
        made.append(Stage(runtime, **options))
        return made[-1]

    yield make
    for one in made:
        await closed(one)
