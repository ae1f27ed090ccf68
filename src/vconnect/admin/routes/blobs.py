"""The route for packages that a client sends, to be installed afterwards."""

from __future__ import annotations

import asyncio
import errno
import re
from http import HTTPStatus

from vconnect.admin.answers import SentPackage
from vconnect.admin.http.asked import Asked, Reply
from vconnect.admin.http.bodies import stream_body
from vconnect.admin.http.encoding import json_reply
from vconnect.admin.http.problems import Problem, field_problem
from vconnect.admin.http.table import Route
from vconnect.admin.manager import Manager

# Each may take as much of the disk as one package may have.
_MAX_AT_ONCE = 4
# For a whole package, as for a download. Seconds.
_TOTAL_S = 1800.0
_DIGEST = re.compile(r"[0-9A-Fa-f]{64}")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class BlobRoutes:
    """The handler.

    Args:
        manager: The manager.
    """

    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        self._under_way = 0

    def rows(self) -> list[Route]:
        """Return the rows of the table."""
        return [
            Route(
                "PUT",
                "/api/blobs/{sha256}",
                "operate",
                self.receive,
                "Send a package, to be installed as sha256:…",
                body=bytes,
                answer=SentPackage,
                order="send",
                codes=("bad_body", "too_slow", "install_error", "not_verified", "no_space"),
                status=HTTPStatus.CREATED,
            )
        ]

    async def receive(self, asked: Asked) -> Reply:
        """Keep a package."""
        text = asked.names["sha256"]
        if not _DIGEST.fullmatch(text):
            raise field_problem("bad_field", "sha256", "expected 64 hex digits, as of sha256sum")
        if self._under_way >= _MAX_AT_ONCE:
            raise Problem("overloaded", f"{self._under_way} packages are being sent already")
        self._under_way += 1
        try:
            is_new = await self._keep(asked, text.lower())
        finally:
            self._under_way -= 1
        status = HTTPStatus.CREATED if is_new else HTTPStatus.OK
        return json_reply(SentPackage(source=f"sha256:{text.lower()}"), status)

    async def _keep(self, asked: Asked, digest: str) -> bool:
        limit = self._manager.settings.max_package_bytes
        try:
            async with asyncio.timeout(_TOTAL_S):
                return await self._manager.blobs.receive(digest, stream_body(asked, limit), limit)
        except TimeoutError:
            raise Problem("too_slow", f"the body did not come within {_TOTAL_S:g} s") from None
        except OSError as error:
            if error.errno in _FULL:
                raise Problem("no_space", f"it cannot be kept: {error.strerror}") from None
            raise Problem(
                "install_error",
                f"it cannot be kept: {error.strerror}",
                next="let the host's user write to plugin_dir",
            ) from None
