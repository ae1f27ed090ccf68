"""What the tests of indexes share: a web server, and a key that signs."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.support.download_kit import Server, running_server

from vconnect.trust.minisign import SecretKey


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with running_server() as made:
        yield made


@pytest.fixture(scope="module")
def key() -> SecretKey:
    pytest.importorskip("cryptography")
    from vconnect.trust.signing import generate

    return generate()
