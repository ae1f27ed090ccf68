"""From an address to the response at the end of its redirects, each of which is checked."""

# Redirects are followed here rather than by aiohttp, so that every hop is checked: a request for a
# package on the public network must not be turned into a request to the host's own services. Each
# hop's name is resolved once, and the connection goes to exactly the addresses that were checked.
#
# A proxy resolves names itself, and may find other addresses than this machine. So a redirect goes
# through it only with HTTPS, where an address that a name should not have cannot answer for it, and
# is judged by the addresses that this machine finds, or else by the name.

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import quote, urlsplit

import aiohttp
from aiohttp.abc import ResolveResult
from yarl import URL

from vconnect.errors import InstallError
from vconnect.packages.source import FetchLimits, Source, check_scheme, shown_source
from vconnect.threads import in_thread

from .addresses import CheckedResolver, Reach, farthest, nearest, resolve
from .credentials import NONE, Credentials, find_credentials
from .proxy import Proxy, is_private_name, proxy_for

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


class AgainError(Exception):
    """This attempt failed in a way that a retry may fix."""


class Hops:
    """The way from a source to the response that has the package.

    Args:
        source: The source.
        allow_insecure_http: Whether to accept ``http://`` from hosts other than the loopback.
        limits: Timeouts, and the number of redirects.

    Attributes:
        shown: The source for messages.
    """

    def __init__(self, source: Source, *, allow_insecure_http: bool, limits: FetchLimits) -> None:
        self._source = source.text
        self.shown = source.shown
        self._allow_insecure_http = allow_insecure_http
        self._limits = limits
        # Of the source's own server, once they were looked for.
        self._credentials: Credentials | None = None

    @asynccontextmanager
    async def answer(
        self, conditions: Callable[[URL], dict[str, str]]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Yield the response at the end of the redirects.

        Args:
            conditions: Returns further headers of the request for an address.

        Raises:
            InstallError: A redirect leads astray, or the server or a proxy refuses.
            AgainError: A retry may help.
        """
        url, reach = self._first_hop(), None
        credentials = await self._find_credentials(url)
        for _ in range(self._limits.redirects + 1):
            proxy = self._proxy_for(url)
            if proxy is None:
                addresses, reach = await self._look_up(url, reach)
            else:
                addresses, reach = await self._look_up_behind(proxy, url, reach)
            headers = {**conditions(url), **credentials.headers}
            async with self._request(url, addresses, proxy, headers) as answer:
                # Only the last hop's status is an answer to the request.
                if answer.status not in _REDIRECTS:
                    yield answer
                    return
                # Relative locations are allowed, and resolved against the hop that sent them.
                target = self._next_hop(url, answer.headers.get("Location", ""))
            if target.origin() != url.origin():
                # For good: another server could lead back here, and choose what is fetched.
                credentials = NONE
            url = target
        raise self.failure(f"more than {self._limits.redirects} redirects")

    def why_refused(self, url: URL) -> str:
        """Return a hint for a server that does not let us in, to follow the message."""
        first = self._first_hop()
        if url.origin() != first.origin():
            return (
                f"; {first.host} redirects to {url.host}, which is sent no credentials; check the "
                "address, and whether the link has expired"
            )
        return "" if self._credentials is None else f"; {self._credentials.advice}"

    def failure(self, message: str) -> InstallError:
        """Return the error for this source. What the server was sent in secret is not in it."""
        return InstallError(f"{self.shown}: {self._masked(message)}")

    def _masked(self, message: str) -> str:
        for secret in () if self._credentials is None else self._credentials.secrets:
            # A server may have put it into where it redirects to.
            message = message.replace(secret, "***")
        return message

    async def _find_credentials(self, url: URL) -> Credentials:
        if self._credentials is None:
            try:
                self._credentials = await in_thread(None, find_credentials, url)
            except ValueError as error:
                raise self.failure(str(error)) from None
        return self._credentials

    def _first_hop(self) -> URL:
        try:
            return as_given(self._source)
        except ValueError as error:
            raise self.failure(f"not a valid address: {error}") from None

    def _proxy_for(self, url: URL) -> Proxy | None:
        try:
            return proxy_for(url)
        except ValueError as error:
            raise self.failure(str(error)) from None

    @asynccontextmanager
    async def _request(
        self,
        url: URL,
        addresses: list[ResolveResult],
        proxy: Proxy | None,
        headers: dict[str, str],
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
            resolver=CheckedResolver(addresses), ssl=trust, use_dns_cache=False, force_close=True
        )
        async with (
            aiohttp.ClientSession(
                connector=connector, timeout=timeout, headers=_HEADERS, auto_decompress=False
            ) as session,
            self._get(session, url, proxy, headers) as answer,
        ):
            yield answer

    @asynccontextmanager
    async def _get(
        self,
        session: aiohttp.ClientSession,
        url: URL,
        proxy: Proxy | None,
        headers: dict[str, str],
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
                headers=headers if tunneled else {**own, **headers},
            )
        except aiohttp.ClientHttpProxyError as error:
            words = f"{proxy} responded with status {error.status}"
            if error.status >= 500:
                raise AgainError(words) from error
            raise self.failure(words + _PROXY_HINTS.get(error.status, "")) from error
        except aiohttp.ClientProxyConnectionError as error:
            raise AgainError(f"the connection to {proxy} failed: {system_words(error)}") from error
        async with answer:
            yield answer

    async def _look_up(self, url: URL, previous: Reach | None) -> tuple[list[ResolveResult], Reach]:
        """Return the addresses of a hop, and its reach as one that redirects."""
        try:
            addresses = await resolve(url, self._limits.connect_timeout)
        except OSError as error:
            raise self.failure(
                f"the host {url.host!r} could not be resolved: {error.strerror}; "
                "if this network requires a proxy, set HTTPS_PROXY for the host"
            ) from error
        # The first hop was named by the operator, who may well mean a server nearby.
        if previous is not None:
            self._check_reach(url, previous, nearest(addresses))
        return addresses, farthest(addresses)

    async def _look_up_behind(
        self, proxy: Proxy, url: URL, previous: Reach | None
    ) -> tuple[list[ResolveResult], Reach]:
        """Return the addresses of a hop's proxy, and the reach of the hop as it is known here."""
        if previous is not None and url.scheme != "https":
            raise self.failure(
                f"redirects to {shown_source(str(url))} through {proxy}, which is only followed "
                "with https; use that address directly, or list its host in NO_PROXY"
            )
        try:
            async with asyncio.timeout(_LOOK_BEHIND_SECONDS):
                found = await resolve(url, self._limits.connect_timeout)
            near, far = nearest(found), farthest(found)
        except OSError:  # also if it takes too long: this network may have no DNS for others' names
            near = far = Reach.PRIVATE if is_private_name(url.host or "") else Reach.PUBLIC
        if previous is not None:
            self._check_reach(url, previous, near)
        try:
            return await resolve(proxy.url, self._limits.connect_timeout), far
        except OSError as error:
            raise self.failure(f"{proxy} could not be resolved: {error.strerror}") from error

    def _check_reach(self, url: URL, previous: Reach, reach: Reach) -> None:
        if reach is Reach.FORBIDDEN:
            raise self.failure(f"redirects to {url.host}, a link-local or reserved address")
        if reach < previous:
            raise self.failure(
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
            raise self.failure("redirects without a valid Location header")
        try:
            check_redirect(self.shown, url.scheme, str(target), self._allow_insecure_http)
        except InstallError as error:
            raise InstallError(self._masked(str(error))) from None
        return target


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


def system_words(error: Exception) -> str:
    """Return the system's error text; aiohttp's own may contain the address or the peer's text."""
    cause = getattr(error, "os_error", error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return cause.verify_message
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return "the server closed the connection"
