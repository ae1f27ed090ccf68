"""Downloads one package over HTTP, from a server that is not trusted."""

# Redirects are followed here rather than by aiohttp, so that every hop is checked: a request for a
# package on the public network must not be turned into a request to the host's own services. Each
# hop's name is resolved once, and the connection goes to exactly the addresses that were checked.
#
# A proxy resolves names itself, and may find other addresses than this machine. So a redirect goes
# through it only with HTTPS, where an address that a name should not have cannot answer for it, and
# is judged by the addresses that this machine finds, or else by the name.

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import IntEnum
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from vconnect.errors import InstallError
from vconnect.threads import in_thread

from .proxy import Proxy, is_private_name, proxy_for
from .source import FetchLimits, Progress, Source, check_scheme, shown_source

_WRITE_BYTES = 256 * 1024  # each write is a switch to a thread and back
_PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# No compression: the limit is for the bytes that are received, and packages are compressed anyway.
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "vconnect"}


_PROXY_HINTS = {
    403: ", which refuses this address; allow it there, or list its host in NO_PROXY",
    407: "; write the credentials into the variable: http://user:password@host:port",
}
# How long this machine may take to resolve what a proxy resolves anyway.
_LOOK_BEHIND_SECONDS = 2.0


class Reach(IntEnum):
    """How far away an address is. A redirect may lead further away, never closer."""

    FORBIDDEN = 0  #: link-local (where clouds serve credentials), multicast, reserved
    LOOPBACK = 1
    PRIVATE = 2
    PUBLIC = 3


class _AgainError(Exception):
    """This attempt failed in a way that a retry may fix."""


class Download:
    """One download, with retries.

    Args:
        source: The source.
        target: The file to create; its directory exists and is private.
        max_bytes: The maximum size of the file.
        allow_insecure_http: Whether to accept ``http://`` from hosts other than the loopback.
        progress: Called after each chunk.
        limits: Timeouts and retries.
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
    ) -> None:
        self._source = source.text
        self._shown = source.shown
        self._target = target
        self._max_bytes = max_bytes
        self._allow_insecure_http = allow_insecure_http
        self._progress = progress
        self._limits = limits

    async def run(self) -> Path:
        """Download the package, and return the file.

        Raises:
            InstallError: The server, the network, a limit or the disk was the reason. The file
                does not exist then, nor after a cancellation.
        """
        try:
            # Around all attempts: a server that sends a byte now and then must not hold an
            # installation forever.
            async with asyncio.timeout(self._limits.total_timeout):
                await self._with_retries()
        except TimeoutError:
            raise self._failure(f"not finished within {self._limits.total_timeout:g} s") from None
        return self._target

    async def _with_retries(self) -> None:
        delay = self._limits.retry_delay
        # Every attempt starts from the beginning: a server that failed is not asked to continue.
        for left in reversed(range(self._limits.retries + 1)):
            try:
                return await self._attempt()
            except _AgainError as error:
                if not left:
                    tries = self._limits.retries + 1
                    raise self._failure(f"{error} ({tries} attempts)") from error
            await asyncio.sleep(delay)
            delay *= 2
        return None

    async def _attempt(self) -> None:
        file = await in_thread(None, self._open)
        try:
            await self._receive(file)
        except BaseException:
            await in_thread(None, self._discard, file)
            raise
        await in_thread(None, file.close)

    def _open(self) -> BinaryIO:
        try:
            return self._target.open("xb")  # never through a link, or into an existing file
        except OSError as error:
            raise self._disk_failure(error) from error

    def _discard(self, file: BinaryIO) -> None:
        file.close()
        self._target.unlink(missing_ok=True)

    async def _receive(self, file: BinaryIO) -> None:
        try:
            async with self._final_answer() as answer:
                await self._save(answer, file)
        except TimeoutError as error:
            raise self._failure("the server stalled") from error
        except aiohttp.ClientSSLError as error:
            raise self._failure(f"the server is not trusted: {_words(error)}") from error
        except aiohttp.ClientPayloadError as error:
            raise _AgainError("the response ended before its announced length") from error
        except (aiohttp.ClientConnectionError, ConnectionError) as error:
            raise _AgainError(f"the connection failed: {_words(error)}") from error
        except aiohttp.ClientError as error:
            raise self._failure("the response is not valid HTTP") from error

    @asynccontextmanager
    async def _final_answer(self) -> AsyncIterator[aiohttp.ClientResponse]:
        """Yield the response at the end of the redirects."""
        url, reach = self._first_hop(), None
        for _ in range(self._limits.redirects + 1):
            proxy = self._proxy_for(url)
            if proxy is None:
                addresses, reach = await self._look_up(url, reach)
            else:
                addresses, reach = await self._look_up_behind(proxy, url, reach)
            async with self._request(url, addresses, proxy) as answer:
                # Only the last hop's status is an answer to the request.
                if answer.status not in _REDIRECTS:
                    self._check_status(answer.status)
                    yield answer
                    return
                # Relative locations are allowed, and resolved against the hop that sent them.
                url = self._next_hop(url, answer.headers.get("Location", ""))
        raise self._failure(f"more than {self._limits.redirects} redirects")

    def _first_hop(self) -> URL:
        try:
            return as_given(self._source)
        except ValueError as error:
            raise self._failure(f"not a valid address: {error}") from None

    def _proxy_for(self, url: URL) -> Proxy | None:
        try:
            return proxy_for(url)
        except ValueError as error:
            raise self._failure(str(error)) from None

    @asynccontextmanager
    async def _request(
        self, url: URL, addresses: list[ResolveResult], proxy: Proxy | None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send the request for one hop, to the checked addresses only, or those of the proxy."""
        limits = self._limits
        timeout = aiohttp.ClientTimeout(
            total=None, connect=limits.connect_timeout, sock_read=limits.idle_timeout
        )
        # In a thread, because reading the system's certificates takes a while.
        secure = url.scheme == "https"
        trust = await in_thread(None, ssl.create_default_context) if secure else True
        # Without cache and keep-alive, no later request can use an address that was not checked.
        connector = aiohttp.TCPConnector(
            resolver=_Checked(addresses), ssl=trust, use_dns_cache=False, force_close=True
        )
        async with (
            aiohttp.ClientSession(
                connector=connector, timeout=timeout, headers=_HEADERS, auto_decompress=False
            ) as session,
            self._get(session, url, proxy) as answer,
        ):
            yield answer

    @asynccontextmanager
    async def _get(
        self, session: aiohttp.ClientSession, url: URL, proxy: Proxy | None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        address, own = (None, {}) if proxy is None else (proxy.url, proxy.headers)
        # With HTTPS, they are for the tunnel; without, the proxy takes its own out of the request.
        tunneled = url.scheme == "https"
        try:
            answer = await session.get(
                url,
                allow_redirects=False,
                proxy=address,
                proxy_headers=own if tunneled else None,
                headers=None if tunneled else own,
            )
        except aiohttp.ClientHttpProxyError as error:
            words = f"{proxy} responded with status {error.status}"
            if error.status >= 500:
                raise _AgainError(words) from error
            raise self._failure(words + _PROXY_HINTS.get(error.status, "")) from error
        except aiohttp.ClientProxyConnectionError as error:
            raise _AgainError(f"the connection to {proxy} failed: {_words(error)}") from error
        async with answer:
            yield answer

    async def _look_up(self, url: URL, previous: Reach | None) -> tuple[list[ResolveResult], Reach]:
        """Return the addresses of a hop, and its reach as one that redirects."""
        try:
            addresses = await self._resolve(url)
        except OSError as error:
            raise self._failure(
                f"the host {url.host!r} could not be resolved: {error.strerror}; "
                "if this network requires a proxy, set HTTPS_PROXY for the host"
            ) from error
        # The first hop was named by the operator, who may well mean a server nearby.
        if previous is not None:
            self._check_reach(url, previous, _nearest(addresses))
        return addresses, _farthest(addresses)

    async def _look_up_behind(
        self, proxy: Proxy, url: URL, previous: Reach | None
    ) -> tuple[list[ResolveResult], Reach]:
        """Return the addresses of a hop's proxy, and the reach of the hop as it is known here."""
        if previous is not None and url.scheme != "https":
            raise self._failure(
                f"redirects to {shown_source(str(url))} through {proxy}, which is only followed "
                "with https; use that address directly, or list its host in NO_PROXY"
            )
        try:
            async with asyncio.timeout(_LOOK_BEHIND_SECONDS):
                found = await self._resolve(url)
            nearest, farthest = _nearest(found), _farthest(found)
        except OSError:  # also if it takes too long: this network may have no DNS for others' names
            nearest = farthest = Reach.PRIVATE if is_private_name(url.host or "") else Reach.PUBLIC
        if previous is not None:
            self._check_reach(url, previous, nearest)
        try:
            return await self._resolve(proxy.url), farthest
        except OSError as error:
            raise self._failure(f"{proxy} could not be resolved: {error.strerror}") from error

    async def _resolve(self, url: URL) -> list[ResolveResult]:
        """Resolve the host of a URL.

        Raises:
            OSError: It is not known, or not known in time; ``strerror`` says why.
        """
        host = url.host or ""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._limits.connect_timeout):
                found = await loop.getaddrinfo(host, url.port, type=socket.SOCK_STREAM)
        except TimeoutError:
            raise OSError(errno.ETIMEDOUT, "no answer in time") from None
        except ValueError:
            raise OSError(errno.EINVAL, "not a valid name") from None
        return [_resolved(host, family, address) for family, _, _, _, address in found]

    def _check_reach(self, url: URL, previous: Reach, reach: Reach) -> None:
        if reach is Reach.FORBIDDEN:
            raise self._failure(f"redirects to {url.host}, a link-local or reserved address")
        if reach < previous:
            raise self._failure(
                f"redirects to {url.host}, which is closer to this machine than the server before "
                f"({reach.name.lower()} after {previous.name.lower()}); "
                "use that address directly if you trust it"
            )

    def _next_hop(self, url: URL, location: str) -> URL:
        try:
            target = url.join(as_given(location))
        except ValueError:
            target = URL()
        if not location or not target.scheme:
            raise self._failure("redirects without a valid Location header")
        check_redirect(self._shown, url.scheme, str(target), self._allow_insecure_http)
        return target

    def _check_status(self, status: int) -> None:
        # A server's own error may be gone in a second; a missing file will not appear.
        if status >= 500:
            raise _AgainError(f"the server responded with status {status}")
        if status != 200:
            hint = "; check the address" if status in (404, 410) else ""
            raise self._failure(f"the server responded with status {status}{hint}")

    async def _save(self, answer: aiohttp.ClientResponse, file: BinaryIO) -> None:
        total = answer.content_length
        if total is not None and total > self._max_bytes:
            raise self._failure(f"has {total} bytes; the limit is {self._max_bytes}")
        # Counted as well, since the length is only what the server claims.
        received = 0
        async for chunk in answer.content.iter_chunked(_WRITE_BYTES):
            received += len(chunk)
            if received > self._max_bytes:
                raise self._failure(f"has more than {self._max_bytes} bytes, which is the limit")
            await self._write(file, chunk)
            if self._progress is not None:
                self._progress(received, total)

    async def _write(self, file: BinaryIO, chunk: bytes) -> None:
        try:
            await in_thread(None, file.write, chunk)
        except OSError as error:
            raise self._disk_failure(error) from error

    def _disk_failure(self, error: OSError) -> InstallError:
        return self._failure(f"cannot be saved: {error.strerror or error}")

    def _failure(self, message: str) -> InstallError:
        return InstallError(f"{self._shown}: {message}")


class _Checked(AbstractResolver):
    """Gives aiohttp the addresses that were checked, whatever DNS returns by now."""

    def __init__(self, addresses: list[ResolveResult]) -> None:
        self._addresses = addresses

    async def resolve(self, *_: object, **__: object) -> list[ResolveResult]:
        return self._addresses

    async def close(self) -> None:
        pass


def as_given(url: str) -> URL:
    """Parse a URL without changing what is percent-encoded in it: its signature may cover that.

    Raises:
        ValueError: It is not a valid URL.

    >>> str(as_given("https://h/a b?x=%2F%7E"))
    'https://h/a%20b?x=%2F%7E'
    """
    # Only the other parsing encodes the name of a host that is not ASCII.
    if not urlsplit(url).netloc.isascii():
        return URL(url)
    parsed = URL(quote(url, safe=_PRINTABLE, errors="surrogateescape"), encoded=True)
    _ = parsed.host, parsed.port  # validated only when they are accessed
    return parsed


def check_redirect(
    origin: str, previous_scheme: str, target: str, allow_insecure_http: bool
) -> None:
    """Refuse a redirect to another kind of source, or from HTTPS to HTTP.

    Raises:
        InstallError: The redirect is not allowed.
    """
    scheme = target.partition(":")[0].lower()
    # Above all `file:`, which would let a server choose a file of this machine.
    if scheme not in ("https", "http"):
        raise InstallError(f"{origin}: redirects to a {scheme}: address; only https is allowed")
    if previous_scheme == "https" and scheme == "http":
        raise InstallError(
            f"{origin}: redirects from https to http ({shown_source(target)}), "
            "which can be tampered with"
        )
    try:
        check_scheme(target, allow_insecure_http)
    except InstallError as error:
        raise InstallError(f"{origin}: redirects to {error}") from None


def reach_of(address: str) -> Reach:
    """Return how far away a numeric address is.

    >>> reach_of("169.254.169.254").name
    'FORBIDDEN'
    """
    # The scope of a link-local address is not part of its number.
    ip = ipaddress.ip_address(address.partition("%")[0])
    # ::ffff:127.0.0.1 connects to 127.0.0.1, and must be judged as that.
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    # Before the next test, because the IPv6 loopback address also counts as reserved.
    if ip.is_loopback:
        return Reach.LOOPBACK
    if ip.is_link_local or ip.is_multicast or ip.is_unspecified or ip.is_reserved:
        return Reach.FORBIDDEN
    return Reach.PUBLIC if ip.is_global else Reach.PRIVATE


def _resolved(
    host: str, family: int, address: tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]
) -> ResolveResult:
    numeric, port = str(address[0]), int(address[1])
    # An IPv6 address with a scope ID, which the connection needs.
    if len(address) == 4 and address[3]:
        numeric = f"{numeric}%{address[3]}"
    return ResolveResult(
        hostname=host,
        host=numeric,
        port=port,
        family=family,
        proto=socket.IPPROTO_TCP,
        flags=socket.AI_NUMERICHOST,
    )


# A connection may use any of a host's addresses. So a redirect is followed only if all of them are
# far enough away, and the host that redirects counts as the farthest of its own: a name that has a
# public address and a private one must not lead from the former to what is near us.


def _nearest(addresses: list[ResolveResult]) -> Reach:
    return min(reach_of(address["host"]) for address in addresses)


def _farthest(addresses: list[ResolveResult]) -> Reach:
    return max(reach_of(address["host"]) for address in addresses)


def _words(error: Exception) -> str:
    """Return the system's error text; aiohttp's own may contain the address or the peer's text."""
    cause = getattr(error, "os_error", error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return cause.verify_message
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return "the server closed the connection"
