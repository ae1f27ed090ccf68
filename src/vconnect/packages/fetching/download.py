"""One download: attempts that continue where the last one broke off, within limits."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from functools import partial
from pathlib import Path

import aiohttp
from yarl import URL

from vconnect.errors import InstallError
from vconnect.packages.source import Edition, Fetched, FetchLimits, Progress, Source
from vconnect.threads import in_thread

from .hops import AgainError, Hops, system_words
from .partial import Part, Parts, mark_of, new_part, place_of, why_not_continued

_WRITE_BYTES = 256 * 1024  # each write is a switch to a thread and back
# Statuses of a client's mistake that are gone in a second too.
_TRANSIENT = frozenset({408, 425, 429})

_log = logging.getLogger(__name__)


class _UnchangedError(Exception):
    """The file is the one that is known."""


class Download:
    """One download, with retries.

    Args:
        source: The source.
        target: The file to create; its directory exists and is private.
        max_bytes: The maximum size of the file.
        allow_insecure_http: Whether to accept ``http://`` from hosts other than the loopback.
        progress: Called after each chunk.
        limits: Timeouts and retries.
        parts: Keeps what arrived if this is interrupted; ``None`` to keep nothing.
        known: What need not be sent again; ``None`` for nothing.
    """

    def __init__(
        self,
        source: Source,
        target: Path,
        *,
        max_bytes: int,
        allow_insecure_http: bool,
        progress: Progress | None,
        limits: FetchLimits,
        parts: Parts | None = None,
        known: Edition | None = None,
    ) -> None:
        self._source = source.text
        self._target = target
        self._max_bytes = max_bytes
        self._progress = progress
        self._limits = limits
        self._parts = parts
        self._known = known
        self._hops = Hops(source, allow_insecure_http=allow_insecure_http, limits=limits)
        self._part: Part | None = None

    async def run(self) -> Fetched:
        """Download the package.

        Raises:
            InstallError: The server, the network, a limit or the disk was the reason. The file
                does not exist then, nor after a cancellation. What arrived is kept for the next
                download of this source, if there are `Parts` and the server permits it.
        """
        try:
            return await self._run()
        except _UnchangedError:
            return Fetched(self._target, edition=self._known, is_unchanged=True)
        except InstallError as error:
            if self._part is None or not self._part.is_kept:
                raise
            raise InstallError(
                f"{error}; {self._part.size} bytes are kept for a day, and another try continues "
                "after them"
            ) from error
        finally:
            await in_thread(None, self._close)

    async def _run(self) -> Fetched:
        try:
            # Around all attempts: a server that sends a byte now and then must not hold an
            # installation forever.
            async with asyncio.timeout(self._limits.total_timeout):
                stop = threading.Event()
                part = await in_thread(stop, self._open, stop)
                await self._with_retries(part)
        except TimeoutError:
            words = f"not finished within {self._limits.total_timeout:g} s"
            raise self._hops.failure(words) from None
        mark = part.mark
        try:
            digest = await in_thread(None, part.complete, self._target)
        except OSError as error:
            raise self._disk_failure(error) from error
        edition = Edition(mark.etag, mark.place) if mark is not None else None
        return Fetched(self._target, digest, part.size, edition)

    async def _with_retries(self, part: Part) -> None:
        delay = self._limits.retry_delay
        for left in reversed(range(self._limits.retries + 1)):
            try:
                return await self._attempt(part)
            except AgainError as error:
                if not left:
                    tries = self._limits.retries + 1
                    raise self._hops.failure(f"{error} ({tries} attempts)") from error
                _log.info("%s", self._hops.failure(f"{error}; trying again"))
            # Less for some, so that those whom one failure hit do not all come back at once.
            await asyncio.sleep(delay * random.uniform(0.75, 1.0))  # noqa: S311 - nothing secret
            delay *= 2
        return None

    async def _attempt(self, part: Part) -> None:
        try:
            async with self._hops.answer(partial(self._conditions, part)) as answer:
                total = await self._accept(answer, part)
                await self._save(answer, part, total)
        except TimeoutError as error:
            raise self._hops.failure("the server stalled") from error
        except aiohttp.ClientSSLError as error:
            words = f"the server is not trusted: {system_words(error)}"
            raise self._hops.failure(words) from error
        except aiohttp.ClientPayloadError as error:
            raise AgainError("the response ended before its announced length") from error
        except (aiohttp.ClientConnectionError, ConnectionError) as error:
            raise AgainError(f"the connection failed: {system_words(error)}") from error
        except aiohttp.ClientError as error:
            raise self._hops.failure("the response is not valid HTTP") from error

    def _conditions(self, part: Part, url: URL) -> dict[str, str]:
        """Return the headers that ask an address for what is missing only."""
        conditions = part.conditions(url)
        if self._known is not None and self._known.place == place_of(url):
            conditions["If-None-Match"] = self._known.etag
        return conditions

    async def _accept(self, answer: aiohttp.ClientResponse, part: Part) -> int | None:
        """Decide whether a response continues the part or begins it anew.

        Returns:
            The size of the whole file; ``None`` if the server does not say.
        """
        # What was asked of the last hop, which need not be where the part is from.
        asked_for_rest = "Range" in answer.request_info.headers
        if answer.status == 304 and "If-None-Match" in answer.request_info.headers:
            raise _UnchangedError
        if asked_for_rest and answer.status == 206 and part.mark is not None:
            if why := why_not_continued(answer.headers, part.mark, part.size):
                await self._begin(part)
                raise AgainError(f"the server continued with another file or place: {why}")
            total: int | None = int(answer.headers["Content-Range"].rpartition("/")[2])
            _log.info("%s: continues after %d bytes", self._hops.shown, part.size)
        elif asked_for_rest and answer.status == 416:
            await self._begin(part)
            raise AgainError("the server has no rest of what was begun")
        else:
            self._check_status(answer)
            total = answer.content_length
            await self._begin(part, answer, total)
        if total is not None and total > self._max_bytes:
            part.drop()
            raise self._hops.failure(f"has {total} bytes; the limit is {self._max_bytes}")
        return total

    def _check_status(self, answer: aiohttp.ClientResponse) -> None:
        # A server's own error may be gone in a second; a missing file will not appear.
        status = answer.status
        if status >= 500 or status in _TRANSIENT:
            raise AgainError(f"the server responded with status {status}")
        if status != 200:
            hint = "; check the address" if status in (404, 410) else ""
            if status in (401, 403):
                hint += self._hops.why_refused(answer.url)
            raise self._hops.failure(f"the server responded with status {status}{hint}")

    async def _save(self, answer: aiohttp.ClientResponse, part: Part, total: int | None) -> None:
        # Counted as well, since the length is only what the server claims, and aiohttp knows that
        # of this response only: of a part of a file, that may be anything.
        async for chunk in answer.content.iter_chunked(_WRITE_BYTES):
            size = part.size + len(chunk)
            if size > self._max_bytes:
                part.drop()
                raise self._hops.failure(
                    f"has more than {self._max_bytes} bytes, which is the limit"
                )
            if total is not None and size > total:
                part.drop()
                raise self._hops.failure(f"has more than the {total} bytes that it announced")
            await self._write(part, chunk)
            if self._progress is not None:
                self._progress(size, total)
        if total is not None and part.size < total:
            raise AgainError("the response ended before its announced length")

    async def _begin(
        self, part: Part, answer: aiohttp.ClientResponse | None = None, total: int | None = None
    ) -> None:
        mark = None if answer is None else mark_of(answer.url, answer.headers, total)
        try:
            await in_thread(None, part.begin, mark)
        except OSError as error:
            raise self._disk_failure(error) from error

    async def _write(self, part: Part, chunk: bytes) -> None:
        try:
            await in_thread(None, part.write, chunk)
        except OSError as error:
            raise self._disk_failure(error) from error

    def _disk_failure(self, error: OSError) -> InstallError:
        # What is kept would take the space that is missing.
        if self._part is not None:
            self._part.drop()
        return self._hops.failure(f"cannot be saved: {error.strerror or error}")

    def _open(self, stop: threading.Event) -> Part:
        # Assigned in the thread: after a cancellation nobody receives what it returns.
        try:
            part = None if self._parts is None else self._parts.open(self._source, stop)
            self._part = part or new_part(self._target)
            return self._part
        except OSError as error:
            raise self._disk_failure(error) from error

    def _close(self) -> None:
        if self._part is None:
            return
        self._part.close()
        if self._parts is not None and self._part.is_kept:
            self._parts.sweep()
