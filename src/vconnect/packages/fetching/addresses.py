"""The addresses of a host: how far away they are, and that no other is connected to."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
from enum import IntEnum

from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL


class Reach(IntEnum):
    """How far away an address is. A redirect may lead further away, never closer."""

    FORBIDDEN = 0  #: link-local (where clouds serve credentials), multicast, reserved
    LOOPBACK = 1
    PRIVATE = 2
    PUBLIC = 3


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


# A connection may use any of a host's addresses. So a redirect is followed only if all of them are
# far enough away, and the host that redirects counts as the farthest of its own: a name that has a
# public address and a private one must not lead from the former to what is near us.


def nearest(addresses: list[ResolveResult]) -> Reach:
    """Return the reach of the address that is closest to this machine."""
    return min(reach_of(address["host"]) for address in addresses)


def farthest(addresses: list[ResolveResult]) -> Reach:
    """Return the reach of the address that is farthest from this machine."""
    return max(reach_of(address["host"]) for address in addresses)


async def resolve(url: URL, timeout: float) -> list[ResolveResult]:
    """Resolve the host of a URL.

    Raises:
        OSError: It is not known, or not known within ``timeout`` seconds; ``strerror`` says why.
    """
    host = url.host or ""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout):
            found = await loop.getaddrinfo(host, url.port, type=socket.SOCK_STREAM)
    except TimeoutError:
        raise OSError(errno.ETIMEDOUT, "no answer in time") from None
    except ValueError:
        raise OSError(errno.EINVAL, "not a valid name") from None
    return [_resolved(host, family, address) for family, _, _, _, address in found]


class CheckedResolver(AbstractResolver):
    """Gives aiohttp the addresses that were checked, whatever DNS returns by now."""

    def __init__(self, addresses: list[ResolveResult]) -> None:
        self._addresses = addresses

    async def resolve(self, *_: object, **__: object) -> list[ResolveResult]:
        """Return the checked addresses."""
        return self._addresses

    async def close(self) -> None:
        """Do nothing: there is nothing to close."""


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
