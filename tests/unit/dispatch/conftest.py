"""What several files of this folder use."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.support.dispatch_kit import Plugins, having


@pytest.fixture
async def plugins() -> AsyncIterator[Plugins]:
    async with having() as made:
        yield made
